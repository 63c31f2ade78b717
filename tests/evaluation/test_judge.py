"""One call judges all: good samples pass, faults are named, numbers carry interval and floor, bad input is one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, norm
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from driftback.errors import BadInput
from driftback.evaluation.auc import auc
from driftback.evaluation.judge import judge
from driftback.evaluation.labels import label_agreement
from driftback.evaluation.metric import INSIDE, MEMORISED, NOT_MEMORISED, WORSE, Metric
from driftback.evaluation.moments import diagnose
from driftback.evaluation.points import points
from driftback.evaluation.shares import predicted, wilson

X, Y = load_digits(return_X_y=True)
TRAIN, HELD, TRAIN_Y, HELD_Y = train_test_split((X - 4.9) / 6.0, Y, test_size=0.2, random_state=0, stratify=Y)
FRESH, FRESH_Y, REST, REST_Y = HELD[:180], HELD_Y[:180], HELD[180:], HELD_Y[180:]


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {m.name.split(" (")[0]: m for m in metrics}


def test_real_items_as_samples_are_judged_well() -> None:
    pictures = FRESH.reshape(-1, 1, 8, 8)
    metrics = judge(
        torch.from_numpy(pictures), TRAIN.reshape(-1, 1, 8, 8).astype(np.float32), REST.reshape(-1, 1, 8, 8),
        sample_labels=torch.from_numpy(FRESH_Y), train_labels=TRAIN_Y, held_labels=REST_Y,
    )  # fmt: skip
    named = by_name(metrics)
    assert named["copies of training items"].verdict == NOT_MEMORISED
    assert named["label agreement"].verdict == INSIDE
    # Ten bands of 95 %: three or more are left by chance in about 1 of 90 seeds.
    judged = [m for m in metrics if not m.name.startswith(("label agreement:", "copies"))]
    assert sum(m.verdict.startswith(INSIDE) for m in judged) >= len(judged) - 2
    for m in metrics:
        assert list(json.loads(json.dumps(m.as_json(), allow_nan=False))) == [
            "name", "value", "low", "high", "floor_low", "floor_high", "n", "verdict",
        ]  # fmt: skip
        assert m.value is not None
        assert m.low is not None
        assert m.high is not None
        assert m.low <= m.value <= m.high
        assert m.low < m.high
    assert len(named) == len(metrics)


def test_noise_copies_and_wrong_labels_are_told() -> None:
    generator = np.random.default_rng(0)
    noisy = by_name(judge(FRESH + generator.standard_normal(FRESH.shape), TRAIN, REST))
    for name in ("sliced Wasserstein-1", "energy distance", "MMD squared"):
        assert noisy[name].verdict.startswith(WORSE)
    assert noisy["classifier AUC"].verdict.startswith("told apart")
    assert noisy["precision"].verdict == WORSE
    assert noisy["deviation ratio"].verdict == "too much spread"
    assert "label agreement" not in noisy

    shifted = (FRESH_Y + (np.arange(len(FRESH_Y)) < 30)) % 10
    labels = {"sample_labels": shifted, "train_labels": TRAIN_Y, "held_labels": REST_Y}
    copied = by_name(judge(TRAIN[:180], TRAIN, REST))
    assert copied["copies of training items"].verdict == MEMORISED
    assert by_name(judge(FRESH, TRAIN, REST, **labels))["label agreement"].verdict == WORSE


def test_without_held_out_items_it_compares_with_training_items() -> None:
    named = by_name(judge(FRESH, TRAIN[:300]))
    assert named["energy distance"].verdict.startswith(INSIDE)
    assert named["copies of training items"].verdict == NOT_MEMORISED
    assert by_name(judge(TRAIN[:100], TRAIN[:300], HELD[:5]))["copies of training items"].verdict == MEMORISED


def test_the_same_seed_judges_alike() -> None:
    assert judge(FRESH[:40], TRAIN[:100], REST[:40], rng=1) == judge(FRESH[:40], TRAIN[:100], REST[:40], rng=1)


@pytest.mark.parametrize(
    ("samples", "train", "held", "line"),
    [
        (FRESH[:19], TRAIN, HELD, "19 samples say nothing reliable; draw at least 20"),
        (FRESH, TRAIN[:9], HELD[:9], "9 real items are too few"),
        (FRESH[:, :63], TRAIN, HELD, "items of different sizes"),
        (
            np.where(np.arange(64) == 3, np.nan, FRESH),
            TRAIN,
            HELD,
            "180 of the 180 samples hold values that are not finite",
        ),
        (FRESH[:0], TRAIN, HELD, "the samples are empty"),
    ],
)
def test_bad_input_is_told_in_one_line(samples: np.ndarray, train: np.ndarray, held: np.ndarray, line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        judge(samples, train, held)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_fit_are_bad_input() -> None:
    with pytest.raises(BadInput, match="179 labels for 180 samples"):
        judge(FRESH, TRAIN, REST, sample_labels=FRESH_Y[1:], train_labels=TRAIN_Y, held_labels=REST_Y)


def test_label_agreement_over_all_and_by_class() -> None:
    asked = FRESH_Y.copy()
    wrong = asked == 3
    asked[wrong] = 5
    found = {m.name: m for m in label_agreement(FRESH, asked, TRAIN, TRAIN_Y, REST, REST_Y)}
    assert "label agreement: 3" not in found
    assert found["label agreement: 5"].verdict == WORSE
    assert found["label agreement: 0"].verdict == INSIDE
    assert sum(m.n for m in found.values()) == 2 * len(FRESH)
    unknown = label_agreement(FRESH, FRESH_Y, TRAIN, TRAIN_Y, REST[REST_Y != 3], REST_Y[REST_Y != 3])
    assert next(m for m in unknown if m.name.endswith(": 3")).floor_high is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: 0.3 * x, "grey"),
        (lambda x: 0.1 * x - 0.8, "flat shade"),
        (lambda x: x + 1.0, "moved"),
        (lambda x: x + np.random.default_rng(0).standard_normal(x.shape), "noise"),
    ],
)
def test_diagnosis_names_the_cause(change, cause: str) -> None:  # type: ignore[no-untyped-def]
    sentence = diagnose(change(FRESH), TRAIN)
    assert sentence is not None
    assert cause in sentence
    assert "\n" not in sentence


def test_diagnosis_is_silent_on_good_samples_and_by_chance() -> None:
    assert diagnose(FRESH, TRAIN) is None
    alarms = sum(
        diagnose(*np.split(np.random.default_rng(s).standard_normal((40, 2)), 2)) is not None for s in range(200)
    )
    # Four standard errors for one coordinate: 6 in 100,000.
    assert alarms == 0


def test_points_are_rows_of_float64() -> None:
    assert points(torch.zeros(3, 2, 2, dtype=torch.float32, requires_grad=True)).dtype == np.float64
    assert points(np.arange(3)).shape == (3, 1)


def test_wilson_and_predicted_shares() -> None:
    # Wilson by hand for 0 of 10: high = z^2 / (n + z^2).
    z = norm.ppf(0.975)
    assert wilson(0, 10) == pytest.approx((0.0, z**2 / (10 + z**2)), abs=1e-12)
    low, high = predicted(50, 100, 10_000)
    # Almost the posterior of the reference share itself: 0.5 +- 1.96 * 0.05.
    assert low == pytest.approx(0.4, abs=0.01)
    assert high == pytest.approx(0.6, abs=0.01)
    assert predicted(100, 100, 20)[1] == 1.0
    # After 0 of 20 the share is not known to be 0: by the prior, 1/2 of a hit was seen.
    assert predicted(0, 20, 100) == (0.0, betabinom(100, 0.5, 20.5).ppf(0.975) / 100)
    assert predicted(0, 20, 100)[1] > 0.1


def test_predicted_holds_95_in_100() -> None:
    generator = np.random.default_rng(0)
    hits = sum(
        low <= generator.binomial(80, 0.9) / 80 <= high
        for low, high in (predicted(int(generator.binomial(60, 0.9)), 60, 80) for _ in range(400))
    )
    # Discrete, so a little over 95 %; 0.925 is left in 1 of 100 seeds at 95 %, and a band of half the width holds 70 %.
    assert 0.925 <= hits / 400 <= 0.99


def test_the_error_of_an_auc_is_delongs() -> None:
    """DeLong et al. 1988, equation 3, pair by pair, for sets of different sizes."""
    generator = np.random.default_rng(0)
    x, y = np.round(generator.normal(0.5, 3.0, 40), 1), np.round(generator.normal(0.0, 0.5, 9), 1)
    wins = (x[:, None] > y) + (x[:, None] == y) / 2
    error = np.sqrt(wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 9)
    found = auc(x, y)
    assert found.value == pytest.approx(wins.mean())
    assert (found.interval[1] - found.interval[0]) / 2 == pytest.approx(norm.ppf(0.975) * error)


def test_auc_by_hand_and_its_law() -> None:
    found = auc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0]))
    # 1 beats 0; 2 beats 0 and half of 2; 3 beats both: 4.5 of 6.
    assert found.value == pytest.approx(4.5 / 6)
    generator = np.random.default_rng(0)
    null = [auc(*np.split(np.round(generator.standard_normal(70), 1), [30])) for _ in range(400)]
    inside = np.mean([low <= a.value <= high for a in null for low, high in [a.floor]])
    # 95 % +- 3 standard errors; bands of half the width would hold 67 %.
    assert abs(inside - 0.95) < 0.033
    apart = auc(np.arange(20.0) + 100, np.arange(20.0))
    assert apart.value == 1.0
    assert apart.interval[0] < 0.9
