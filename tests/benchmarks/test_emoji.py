"""The benchmark of captioned emoji splits as it says, knows colours, and writes what it measured."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from driftback.networks.presets import NetworkSpec

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "emoji.py"


@pytest.fixture
def emoji(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("emoji", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "emoji", module)
    spec.loader.exec_module(module)
    return module


def painted(emoji: ModuleType) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Plain pictures with captions: every colour and shape, people in three skin tones, and things."""
    captions = [f"{colour} {shape}" for colour in emoji.HUES for shape in ("heart", "book")]
    captions += [f"large {colour} {shape}" for colour in emoji.HUES for shape in ("circle", "square")]
    captions += [f"person {i}{tone}" for i in range(12) for tone in ("", " 1f3fb", " 1f3fb-1f3fc")]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (len(captions), 32, 32, 3)).astype(np.uint8)
    kinds = np.array(["People" if "person" in c else "Objects" if "book" in c else "Symbols" for c in captions])
    return x, captions, kinds


def test_the_split_is_honest(emoji: ModuleType) -> None:
    x, captions, _ = painted(emoji)
    train, held = emoji.parts(x, captions)
    assert sorted([*train, *held]) == list(range(len(x)))
    assert not {emoji.base(captions[i]) for i in train} & {emoji.base(captions[i]) for i in held}
    assert set(emoji.NEW) <= {captions[i] for i in held}
    words = {word for i in train for word in captions[i].split()}
    assert all(set(caption.split()) <= words for caption in emoji.NEW)
    assert any("person" in captions[i] for i in held)


def test_base_and_colour(emoji: ModuleType) -> None:
    assert emoji.base("couple: man, man 1f3fb-1f3fc") == "couple: man, man"
    assert emoji.base("keycap 1") == "keycap 1"
    for name, rgb in (
        ("red", (220, 20, 30)),
        ("green", (40, 160, 60)),
        ("purple", (150, 60, 200)),
        ("none", (9, 9, 9)),
    ):
        picture = np.full((32, 32, 3), 255, np.uint8)
        picture[8:24, 8:24] = rgb
        assert emoji.colour(picture) == name
    assert emoji.asked_colour("large blue circle") == "blue"


def test_the_judge_learns(emoji: ModuleType) -> None:
    x = np.full((60, 32, 32, 3), 255, np.uint8)
    x[:30, :, :, 1:] = 0
    y = np.arange(60) // 30
    assert (emoji.seen(emoji.judge(x, y, 2, epochs=2), x) == y).mean() > 0.9


def test_everything_is_recorded(emoji: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, captions, kinds = painted(emoji)
    np.savez(tmp_path / "e.npz", x=x, t=np.array(captions), c=kinds)
    fit = emoji.db.fit
    small = NetworkSpec(kind="unet", widths=(8,), depth=1, patch=8, conditioning=16)
    monkeypatch.setattr(emoji.db, "fit", lambda *words, **how: fit(*words, network=small, batch=8, **how))
    words = ["--sampling-steps", "1", "--steps", "1", "--epochs", "1", "--samples", "3", "--each", "1"]
    monkeypatch.setattr(
        sys, "argv", ["emoji.py", *words, "--data", str(tmp_path / "e.npz"), "--out", str(tmp_path / "o.json")]
    )
    emoji.main()
    found = json.loads((tmp_path / "o.json").read_text())
    assert {"date", "machine", "torch", "fit", "judge", "trained_captions", "new_combinations"} <= found.keys()
    assert found["fit"]["steps"] == 1
    assert found["words_of_new_captions_not_in_training"] == {}
    for rows in found["new_combinations"].values():
        assert set(rows["by_caption"]) == set(emoji.NEW)
        assert 0 <= rows["both"]["share"] <= rows["right_colour"]["share"] <= 1
