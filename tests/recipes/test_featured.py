"""Which features a model is judged in: a name, a function of items as the model draws them, or none."""

from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.data.loading import load as load_data
from driftback.data.preprocessing import Preprocessing
from driftback.evaluation.features.named import FEATURES
from driftback.recipes.evaluate import evaluate
from driftback.recipes.featured import kind_of

DIGITS, MOONS = (Preprocessing.fit(load_data(name, n=50)) for name in ("digits", "two-moons"))


def radii(x: np.ndarray) -> np.ndarray:
    """One feature of a point."""
    assert x.shape[1:] == (2,)
    return np.linalg.norm(x, axis=1, keepdims=True)


def test_points_are_judged_in_features_of_a_function_alone() -> None:
    model = db.fit("two-moons", n=300, steps=2, batch=16)
    assert not any("features" in metric.name for metric in evaluate(model, n=120).metrics)
    names = [metric.name for metric in evaluate(model, n=120, features=radii).metrics if "features" in metric.name]
    # 60 held-out items are too few for a Fréchet distance, and the name of what is not told says so.
    assert names[0].startswith("Fréchet distance (radii features")
    assert "kernel distance (radii features)" in names
    with pytest.raises(db.BadInput, match="failed"):
        evaluate(model, n=120, features=lambda x: x["a"])


def test_kinds_by_name_and_by_function() -> None:
    assert kind_of(None, DIGITS) is None
    assert kind_of("none", DIGITS) is None
    assert kind_of("auto", MOONS) is None
    assert kind_of("patches", DIGITS) is FEATURES["patches"]
    theirs = kind_of(lambda x: x, DIGITS)
    assert theirs is not None
    assert theirs.make(None).name == "own"


def test_a_function_sees_items_as_they_are_drawn() -> None:
    seen = []
    kind = kind_of(lambda x: seen.append(x) or x.reshape(len(x), -1), DIGITS)
    assert kind is not None
    digits = load_data("digits", n=50)
    kind.make(None)(DIGITS.encode(digits.x))
    assert np.array_equal(seen[0], digits.x)
    assert seen[0].dtype == digits.x.dtype


@pytest.mark.parametrize(
    ("features", "prepared", "weights", "line"),
    [
        ("patches", MOONS, None, "features of pictures, and these are points"),
        ("patch", DIGITS, None, "did you mean patches"),
        (5, DIGITS, None, "no features called 5"),
        ("patches", DIGITS, "w.pth", "leave one of the two out"),
        (radii, DIGITS, Path("w.pth"), "leave one of the two out"),
        ("auto", MOONS, "w.pth", "inception are features of pictures"),
    ],
)
def test_nonsense_is_told_in_one_line(features, prepared, weights, line) -> None:
    with pytest.raises(db.BadInput, match=line) as caught:
        kind_of(features, prepared, weights)
    assert "\n" not in str(caught.value)
