"""The machine that the numbers belong to, and how much of it other processes used meanwhile (Linux)."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine(threads: int) -> dict:
    """What the numbers depend on; no names of hosts or paths."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def busy_seconds() -> float:
    """Seconds that all processors of the machine have worked since it started."""
    user, nice, system = (int(word) for word in Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def worked(pid: int) -> float:
    """Seconds that one process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
