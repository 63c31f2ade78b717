"""Encoding and decoding undo each other, exactly where values are discrete, for every kind, layout and dtype."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from driftback.data import Preprocessing, check, load
from driftback.data.levels import Levels
from driftback.errors import BadInput

# Derandomised: the suite gives the same verdict every time.
exactly = settings(max_examples=60, deadline=None, derandomize=True)
SHAPES = st.sampled_from([(12, 3), (12, 1), (12, 4, 5), (12, 4, 5, 3), (12, 3, 4, 5), (12, 1, 5, 5), (12, 5, 5, 1)])


def _round_trip(x):
    """What `x` is after a fit, a trip through JSON, and encoding and decoding."""
    fitted = Preprocessing.fit(load(x))
    again = Preprocessing.model_validate_json(fitted.model_dump_json())
    assert again == fitted
    z = again.encode(x)
    assert z.dtype == torch.float32
    assert z.shape[1:] == again.internal_event
    return again, again.decode(z)


@exactly
@given(
    st.data(),
    SHAPES,
    st.sampled_from(["u1", "i2", "i4", "i8", "f2", "f4", "f8"]),
    st.integers(1, 17),
    st.integers(0, 40),
)
def test_discrete_values_come_back_exactly(data, shape, dtype, step, start):
    count = data.draw(st.integers(2, 12))
    x = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, count - 1)))
    x.flat[:2] = 0, 1
    x = np.minimum(start + step * x, 255).astype(dtype)
    _, back = _round_trip(x)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


@exactly
@given(SHAPES.flatmap(lambda s: hnp.arrays(np.uint16, s, elements=st.integers(0, 65535))))
def test_sixteen_bit_values_come_back_exactly(x):
    np.testing.assert_array_equal(_round_trip(x)[1], x)


@exactly
@given(
    SHAPES.flatmap(lambda s: hnp.arrays(np.float64, s, elements=st.floats(-1e6, 1e6))),
    st.sampled_from(["f4", "f8"]),
)
def test_fractions_come_back_to_single_precision(x, dtype):
    x = x.astype(dtype)
    fitted, back = _round_trip(x)
    # float32 inside: an error of 2^-24 of the encoded value, in raw units, plus one rounding of the raw dtype.
    reach = np.abs(x.astype(np.float64) - np.array(fitted.offset))
    room = 2.0**-23 * (reach + np.array(fitted.scale)) + (np.finfo(dtype).eps * np.abs(x) if dtype == "f4" else 1e-9)
    assert (np.abs(back.astype(np.float64) - x) <= room).all()


@pytest.mark.parametrize("tiny", [1.11253693e-308, 5e-324, 1e-170])
def test_columns_near_nothing_are_no_constants(tiny):
    x = np.zeros((12, 3))
    x[0] = tiny, 2.0, 0.0
    fitted, back = _round_trip(x)
    assert fitted.scale[0] > 0
    assert back[0, 0] == pytest.approx(tiny, rel=1e-6)


def test_the_round_trip_check_would_notice_a_fault():
    x = np.random.default_rng(0).integers(0, 17, (20, 4, 5))
    fitted = Preprocessing.fit(load(x))
    shifted = fitted.model_copy(update={"offset": (fitted.offset[0] + 1.0,)})
    assert (shifted.decode(fitted.encode(x)) != x).any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
def test_bytes_as_fractions_are_found_and_come_back_exactly(low, high, dtype):
    grid = (np.arange(256) / 255 * (high - low) + low).astype(dtype)
    x = grid[3:-5].repeat(4)[: 8 * 11 * 11].reshape(8, 11, 11)
    fitted, back = _round_trip(x)
    assert fitted.levels.count == 256
    np.testing.assert_allclose(back, x, rtol=0, atol=np.finfo(dtype).eps)


def test_digits():
    digits = load("digits")
    fitted = Preprocessing.fit(digits)
    assert fitted.levels == Levels(start=0, step=1, count=17)
    assert fitted.internal_event == (1, 8, 8)
    np.testing.assert_array_equal(fitted.level_values, np.linspace(-1, 1, 17))
    assert fitted.log_det == pytest.approx(-64 * math.log(8))
    assert fitted.classes == tuple("0123456789")


@pytest.mark.parametrize(
    "x", [load("digits").x, load("digits").x.reshape(1797, 64), load("two-moons").x], ids=["pictures", "flat", "points"]
)
def test_log_det_is_that_of_the_encoding(x):
    fitted = Preprocessing.fit(load(x))
    moves = np.diagonal(_jacobian(fitted, x[0].astype(np.float64)))
    assert fitted.log_det == pytest.approx(np.log(moves[moves != 1]).sum(), rel=1e-5)


def _jacobian(fitted, x):
    # Encoding is affine: one large step measures its slope; levels and bounds, which would refuse the step, are lifted.
    free = fitted.model_copy(update={"levels": None, "bounds": (-1e9, 1e9)})
    steps = np.eye(x.size).reshape(x.size, *x.shape) * 1024
    return (free.encode(x + steps) - free.encode(x[None])).flatten(1).numpy().astype(np.float64) / 1024


def test_points_are_standardised_and_constants_kept():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(1e6, 3, 500), rng.normal(size=500), np.full(500, 7.25)], 1)
    fitted = Preprocessing.fit(load(x))
    z = fitted.encode(x).numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0), [1, 1, 0], atol=1e-5)
    noisy = torch.from_numpy(z) + torch.linspace(-1, 1, 500)[:, None]
    assert (fitted.decode(noisy)[:, 2] == 7.25).all()


def test_whole_numbered_columns_are_rounded():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=500), rng.integers(0, 10_000, 500)], 1)
    fitted = Preprocessing.fit(load(x))
    assert fitted.levels is None
    assert fitted.whole == (1,)
    back = fitted.decode(torch.linspace(-1, 1, 50)[:, None].expand(50, 2))
    assert (back[:, 1] == np.rint(back[:, 1])).all()
    assert (back[:, 0] != np.rint(back[:, 0])).all()


@pytest.mark.parametrize(
    ("x", "offset", "scale"),
    [
        (np.array([0, 255]), 127.5, 127.5),
        (np.array([3, 200]), 127.5, 127.5),
        (np.array([0.0, 0.7]), 0.5, 0.5),
        (np.array([-0.2, 0.7]), 0.0, 1.0),
        (np.array([0, 16.0]), 8.0, 8.0),
        (np.array([-300.5, 700.5]), 200.0, 500.5),
    ],
)
def test_the_range_of_pictures_is_recognised(x, offset, scale):
    fitted = Preprocessing.fit(load(np.resize(x, (10, 4, 4))))
    assert (fitted.offset, fitted.scale) == ((offset,), (scale,))


def test_a_folder_declares_its_range_and_samples_are_clipped():
    dark = load(np.random.default_rng(0).integers(0, 9, (20, 4, 4)).astype(np.uint8))
    fitted = Preprocessing.fit(replace(dark, value_range=(0.0, 255.0)))
    assert fitted.levels == Levels(start=0, step=1, count=256)
    assert fitted.decode(torch.full((1, 1, 4, 4), 5.0)).max() == 255


@pytest.mark.parametrize(
    ("event", "layout", "internal"),
    [
        ((8, 8), "hw", (1, 8, 8)),
        ((8, 9, 3), "hwc", (3, 8, 9)),
        ((3, 8, 9), "chw", (3, 8, 9)),
        ((3, 8, 3), "hwc", (3, 3, 8)),
        ((1, 8, 8), "chw", (1, 8, 8)),
        ((5, 6, 2), "hwc", (2, 5, 6)),
        ((7,), "d", (7,)),
    ],
)
def test_layouts(event, layout, internal):
    fitted = Preprocessing.fit(load(np.random.default_rng(0).random((12, *event))))
    assert (fitted.layout, fitted.internal_event) == (layout, internal)


def test_the_channels_stay_in_order():
    x = np.zeros((10, 2, 5, 3), np.uint8)
    x[..., 1] = 255
    z = Preprocessing.fit(load(x)).encode(x)
    assert (z[:, 1] == 1).all()
    assert (z[:, [0, 2]] == -1).all()


DIGITS, POINTS = load("digits").x, load("two-moons", n=20).x


@pytest.mark.parametrize(
    ("fitted_on", "x", "expected"),
    [
        (DIGITS, DIGITS[0], r"items of shape \(8, 8\)"),
        (DIGITS, DIGITS.reshape(-1, 64), r"these have shape \(64,\)"),
        (DIGITS, DIGITS + 0.5, "the value 0.5 .and .* more. is not on the 17 levels 0, 1, ..., 16"),
        (DIGITS, DIGITS * 2, "is not on the 17 levels"),
        (DIGITS, np.where(DIGITS == 3, np.nan, DIGITS), "values are NaN or infinite, the first in item 0"),
        (DIGITS / 7.1, DIGITS, "levels|range"),
        (POINTS, POINTS * np.inf, "40 values are NaN or infinite"),
        (POINTS, np.full((2, 2), "a"), "must be numbers"),
        (np.stack([POINTS[:, 0], np.ones(20)], 1), np.zeros((3, 2)), "equal to the one value"),
        (np.random.default_rng(0).random((20, 4, 4)), np.full((1, 4, 4), 2.0), "the value 2 .* range 0 to 1"),
    ],
)
def test_encode_refuses_what_the_model_does_not_know(fitted_on, x, expected):
    fitted = Preprocessing.fit(load(fitted_on))
    with pytest.raises(BadInput, match=expected) as caught:
        fitted.encode(x)
    assert "\n" not in str(caught.value)


def test_labels_are_matched_by_name():
    fitted = Preprocessing.fit(load(POINTS, ["cat", "dog", "eel", "fox"] * 5))
    assert fitted.label("eel") == 2
    assert fitted.labels(load(POINTS, ["fox", "dog"] * 10)).tolist() == [3, 1] * 10
    assert fitted.labels(load(POINTS)) is None
    with pytest.raises(BadInput, match=r"no class dogs: did you mean dog\? known are cat, dog, eel, fox"):
        fitted.labels(load(POINTS, ["dogs", "cat"] * 10))
    with pytest.raises(BadInput, match="had no labels"):
        Preprocessing.fit(load(POINTS)).label(3)


def test_fit_refuses_what_is_not_finite():
    with pytest.raises(BadInput, match="1 values are NaN or infinite, the first in item 3"):
        Preprocessing.fit(load(np.array([[1.0], [2], [3], [np.nan]])))


def test_an_unknown_field_in_the_config_is_refused():
    fitted = Preprocessing.fit(load("digits"))
    with pytest.raises(ValueError, match="Extra inputs"):
        Preprocessing.model_validate({**fitted.model_dump(), "colour": 1})


def test_levels_of_irregular_or_many_values_are_none():
    rng = np.random.default_rng(0)
    assert Preprocessing.fit(load(rng.normal(size=(300, 2)))).levels is None
    assert Preprocessing.fit(load(rng.choice([0.0, 1.0, 2.5, 3.1], (300, 2)))).levels is None
    assert Preprocessing.fit(load(rng.choice([0, 1, 1000], (300, 2)))).levels is None


@pytest.mark.parametrize("size", [1e155, 1e200, 1.7e308])
def test_values_whose_squares_overflow_are_refused(size):
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2)) * [1.0, size]
    with pytest.raises(BadInput, match="power of ten"):
        Preprocessing.fit(load(x))
    errors = [finding.what for finding in check(load(x)) if finding.level == "error"]
    assert len(errors) == 1
    assert "column 1" in errors[0]
    assert "\n" not in errors[0]


def test_just_below_they_are_scaled_and_scaled_back():
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2)) * 1e149
    prepared = Preprocessing.fit(load(x))
    z = prepared.encode(x)
    assert float(z.std()) == pytest.approx(1.0, rel=0.05)
    np.testing.assert_allclose(prepared.decode(z), x, rtol=1e-5, atol=1e143)
    assert [finding for finding in check(load(x)) if finding.level == "error"] == []


def test_values_too_far_for_float32_are_refused():
    prepared = Preprocessing.fit(load(np.random.default_rng(0).normal(size=(50, 2))))
    with pytest.raises(BadInput, match=r"1e\+60 is too far"):
        prepared.encode(np.array([[0.0, 1e60]]))


def test_large_whole_numbers_on_few_levels():
    """Beyond 2^53 they fit no 64-bit integer, which the search for a grid used to warn of."""
    x = np.random.default_rng(0).integers(0, 2, (50, 2)) * 1e100
    assert Preprocessing.fit(load(x)).levels.count == 2


def test_samples_have_the_decimals_of_the_data() -> None:
    r = np.random.default_rng(0)
    x = np.stack([np.round(r.normal(1.7e9, 5, 200), 3), r.integers(-1, 2, 200), r.normal(0, 3e-9, 200)], 1)
    prepared = Preprocessing.fit(load(np.column_stack([x, np.full(200, 0.1234567891234)])))
    assert prepared.decimals == (3, None, None, None)
    assert Preprocessing.model_validate_json(prepared.model_dump_json()) == prepared
    drawn = prepared.decode(torch.tensor([[0.123456789, -0.05, 0.5, 0.0], [-1.1, 0.9, -0.4, 0.0]]))
    assert np.array_equal(np.round(drawn[:, 0], 3), drawn[:, 0])
    assert not np.signbit(drawn[0, 1])
    assert "-0" not in str(drawn[0, 1])
    assert max(len(repr(float(v))) for v in drawn[:, 2]) < 16
    assert (drawn[:, 3] == 0.1234567891234).all()


def test_levels_that_nearly_fit_the_range_are_not_moved_to_it():
    """0 and .9995 are no 0 and 1: a grid is stretched to the range only where that changes nothing."""
    x = np.zeros((5, 4, 5), np.float32)
    x[0, 0, 0] = 0.9995
    prepared = Preprocessing.fit(load(x))
    np.testing.assert_array_equal(prepared.decode(prepared.encode(x)), x)
    thirds = np.random.default_rng(0).integers(0, 2, (5, 4, 5)).astype(np.float32) / 3
    assert Preprocessing.fit(load(thirds)).levels.count == 4


@pytest.mark.parametrize("values", [256, 17], ids=["all bytes", "few levels"])
def test_bytes_by_table_are_encoded_as_numbers_are(values):
    x = np.random.default_rng(0).integers(0, values, (300, 9, 7)).astype(np.uint8)
    fitted = Preprocessing.fit(load(x))
    assert torch.equal(fitted.encode(x), fitted.encode(x.astype(np.int64)))
    if values == 17:
        x[200, 3, 3] = 200
        with pytest.raises(BadInput, match="the value 200 is not on the 17 levels"):
            fitted.encode(x)
