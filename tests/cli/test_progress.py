"""What is said of the time that is left."""

from collections.abc import Callable

from driftback.cli import progress as module
from driftback.cli.progress import Forecast, progress, reading


def test_the_first_part_says_nothing_of_the_rest() -> None:
    forecast = Forecast()
    assert forecast.left(1, 100, 50.0) == ""  # 50 seconds of compiling
    assert forecast.left(11, 100, 51.0) == "9 s left"
    assert forecast.left(100, 100, 60.0) == "0 s left"


def test_lines_come_now_and_then(monkeypatch, capsys) -> None:
    now = iter([0.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with progress("moves") as update:
        for done in (1, 2, 12):
            update(done, 22, "warm-up")
    assert capsys.readouterr().err.splitlines() == ["moves 1/22  warm-up", "moves 12/22  5 s left  warm-up"]


def test_reading_is_shown_and_gives_what_it_gave(monkeypatch, capsys) -> None:
    now = iter([0.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))

    def read(source: str, *, seed: int, told: Callable[[int, int], None]) -> str:
        for done in (100, 200, 1200):
            told(done, 2200)
        return f"{source} {seed}"

    assert reading(read, "told")("photos", seed=3) == "photos 3"
    assert capsys.readouterr().err.splitlines() == ["reading 100/2200", "reading 1200/2200  5 s left"]
    assert reading(read, "told", quiet=True)("photos", seed=3) == "photos 3"
    assert capsys.readouterr().err == ""
