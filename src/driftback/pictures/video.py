"""Frames as an .mp4 (H.264) that browsers and telephones play, by the ffmpeg that imageio-ffmpeg carries."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from driftback.errors import BadInput

MISSING = "films as .mp4 need imageio-ffmpeg: pip install 'driftback[video]', or let the name end in .gif or .webp"
REPEATABLE = ("-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")
"""Neither the number of cores nor a version's name leaves a trace in the file."""


def ffmpeg() -> str:
    """The path of the ffmpeg to use. BadInput where there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise BadInput(MISSING) from None


def write_mp4(shots: Sequence[np.ndarray], path: Path, *, rate: float, hold: float = 0.0) -> None:
    """Write `shots`, (height, width, 3) uint8 with even sides, at `rate` frames a second, the last shown for `hold`
    seconds. BadInput without the extra `video`, OSError where ffmpeg cannot write.
    """
    height, width, _ = shots[0].shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:.6g}", "-i", "-"]
    held = ["-vf", f"tpad=stop_mode=clone:stop_duration={max(0.0, hold - 1 / rate):.6g}"]
    coded = [*held, "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart", *REPEATABLE]
    command = [ffmpeg(), "-v", "error", "-y", *raw, *coded, f"file:{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it says why it stopped
            for shot in shots:
                process.stdin.write(shot.tobytes())
        said = " ".join(process.communicate()[1].decode(errors="replace").split())[-200:]
    if process.returncode:
        raise OSError(f"ffmpeg stopped ({said})")
