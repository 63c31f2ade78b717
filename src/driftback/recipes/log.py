"""The log of a training, one JSON object a line: losses by noise level, steps, and the summary that it ended with."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driftback.files import write_text

LOG = "metrics.jsonl"


@dataclass(frozen=True)
class Summary:
    """What `driftback fit --json` prints; None where it does not apply."""

    model: str | None
    kind: str
    items: int
    held_out: int
    seconds: float
    samples_seen: int
    bits_per_dim: float | None
    bits_per_dim_se: float | None
    verdict: str


def read_log(path: Path) -> list[dict]:
    """The records of a log, oldest first, without a line that a kill cut off; none where there is no log."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            records.append(json.loads(line))
    return records


def trim(path: Path, step: int, *, finished: bool) -> None:
    """Cut a line that a kill broke off, and the measurements of steps after the last checkpoint."""
    if path.is_file():
        kept = [record for record in read_log(path) if finished or record.get("step", math.inf) <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def last_summary(folder: Path) -> Summary | None:
    """The summary that the training in `folder` ended with, None if it has not."""
    ends = [record["summary"] for record in read_log(folder / LOG) if record.get("kind") == "end"]
    return Summary(**ends[-1]) if ends else None
