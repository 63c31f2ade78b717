"""A model's `config.json`: what it was made from, and how, with a version that a later reader can migrate."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from driftback.data.preprocessing import Preprocessing
from driftback.data.reader import Alike
from driftback.errors import DamagedModel
from driftback.files import write_text
from driftback.networks.closed_form import ClosedFormSpec
from driftback.networks.memory import MemorySpec
from driftback.networks.presets import NetworkSpec
from driftback.recipes.budget import Judging
from driftback.recipes.captions import Captions
from driftback.recipes.methods import METHODS
from driftback.recipes.numbers import Numbers
from driftback.training.drawing import DRAWINGS
from driftback.training.optimisers import OPTIMISERS
from driftback.training.plan import Plan
from driftback.training.weightings import WEIGHTINGS

VERSION = 1

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From the version in the key to the next; `read` applies them in turn."""


class Config(BaseModel):
    """All that rebuilds a model around its weights, and what a resume checks before it goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = VERSION
    library: str
    name: str
    source: str | None
    """Where the data came from, as it can be given again; None for data handed over in memory."""
    reading: dict[str, Any] = {}
    """The options that it was read with (`driftback.data.load`)."""
    method: str
    preprocessing: Preprocessing
    network: NetworkSpec
    plan: Plan
    judging: Judging = Judging()
    closed_form: ClosedFormSpec | MemorySpec | None = None
    """The size of the mixture that the network corrects, or of what is remembered in its place, where it is."""
    spread: float = Field(gt=0)
    """The standard deviation of the encoded training data."""
    centre: float = 0.0
    """Their mean, where the method asks for it."""
    class_counts: tuple[NonNegativeInt, ...] = ()
    bucket_counts: tuple[tuple[NonNegativeInt, ...], ...] = ()
    """How many training pictures of each class, or of all where there are none, are in each bucket; () without."""
    condition: Captions | Numbers | None = Field(default=None, discriminator="kind")
    """What it is conditioned on instead of classes."""
    fingerprint: str
    """SHA-256 of the training data and labels."""
    items: int = Field(ge=1)
    held_out: int = Field(ge=0)
    held_out_share: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _each_bucket_is_counted(self) -> Self:
        buckets, rows = self.preprocessing.buckets, self.bucket_counts
        wrong = rows if buckets is None else [row for row in rows if len(row) != len(buckets.shapes)]
        if wrong or (buckets is not None and len(rows) != max(1, len(self.class_counts))):
            raise ValueError("bucket_counts do not fit the buckets")
        return self

    @property
    def alike(self) -> Alike:
        """What other data is matched by: the names of the columns, those of what goes with the items, and buckets."""
        label = self.reading.get("y") if self.class_counts else None
        caption, numbers = self.reading.get("caption"), tuple(self.reading.get("numbers") or ())
        return Alike(self.preprocessing.columns, label, caption, numbers, self.preprocessing.buckets)


def write(config: Config, folder: Path) -> None:
    """Write `folder/config.json`, whole or not at all."""
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")


def _near(folder: Path) -> str:
    """Models beside `folder` with a similar name, as the end of a message."""
    try:
        models = [path.parent.name for path in folder.parent.glob("*/config.json")]
    except OSError:
        return ""
    near = difflib.get_close_matches(folder.name, models, 2, 0.6)
    return f"; did you mean {' or '.join(str(folder.with_name(name)) for name in near)}?" if near else ""


def read(folder: Path) -> Config:
    """The config of the model in `folder`. Raises DamagedModel in one line that names the file."""
    path = folder / "config.json"
    if folder.is_file():
        raise DamagedModel(f"{folder} is a file; RUN is the folder that 'driftback fit --out' made{_near(folder)}")
    if not folder.is_dir():
        hint = _near(folder) or f"; make one with: driftback fit SOURCE --out {folder}"
        raise DamagedModel(f"there is no model in {folder}{hint}")
    if not path.is_file():
        raise DamagedModel(
            f"{path} is missing, so {folder} is not a model; give the folder that 'driftback fit --out' made"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = int(record["version"])
        if version > VERSION:
            raise DamagedModel(
                f"{path} has version {version}, newer than {VERSION}, which this driftback reads; update driftback"
            )
        for number in range(version, VERSION):
            if number not in MIGRATIONS:
                raise DamagedModel(
                    f"{path} has version {version}, which this driftback cannot read any more; fit the model again"
                )
            record = MIGRATIONS[number](record)
        config = Config.model_validate(record)
        if config.method not in METHODS:
            raise DamagedModel(f"{path} asks for the method '{config.method}', which this driftback does not know")
        plan = config.plan
        if not (plan.weighting in WEIGHTINGS and plan.times in DRAWINGS and plan.optimiser in OPTIMISERS):
            raise DamagedModel(f"{path} asks for a weighting, times or optimiser that this driftback does not know")
        return config
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedModel(
            f"{path} is damaged at '{where}' ({first['msg']}); restore it from a copy or fit again"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedModel(f"{path} is damaged ({error}); restore it from a copy or fit the model again") from error
