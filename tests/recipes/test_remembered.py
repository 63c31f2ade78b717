"""Models that remember: made in a moment, drawn from like others, and told from them by what they copy."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import driftback as db
from driftback.distributions.recall import Recall
from driftback.errors import BadInput
from driftback.evaluation.memorisation import RATIO, left_out, nearest_two
from driftback.networks.memory import Kind, Memory, MemorySpec
from driftback.recipes import remembered, start
from driftback.recipes.methods import METHODS
from driftback.recipes.prepare import prepare

REMEMBER = [name for name, method in METHODS.items() if method.remembers]


def stripes(n: int = 300) -> np.ndarray:
    """Pictures of 8 x 8: rows and columns, each dark or light by itself."""
    rng = np.random.default_rng(0)
    return (
        60 * rng.integers(0, 2, (n, 8, 1)) + 100 * rng.integers(0, 2, (n, 1, 8)) + rng.integers(0, 30, (n, 8, 8))
    ).astype(np.uint8)


def nearest(x: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The root mean square distance of each of `x` from the nearest item."""
    far = (x.reshape(len(x), 1, -1).astype(float) - data.reshape(1, len(data), -1)) ** 2
    return np.sqrt(far.mean(2).min(1))


def test_there_are_three() -> None:
    assert REMEMBER == ["recorded", "smoothed", "patches"]


def test_the_recorded_score_returns_the_items() -> None:
    data = stripes()
    model = db.fit(data, method="recorded", held_out=0.2, seed=0)
    x = model.sample(20, seed=1)
    assert x.dtype == np.uint8
    assert nearest(x, data).max() < 2


def test_patches_make_new_pictures() -> None:
    data = stripes()
    model = db.fit(data, method="patches", seed=0)
    x = model.sample(20, seed=1)
    assert nearest(x, data).mean() > 8, "what no item is"
    assert abs(x.mean() - data.mean()) < 25
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert int(known.sizes[0]) < 15


def test_a_smoothed_cloud_is_as_wide_as_it_was_chosen() -> None:
    data = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3.0]
    model = db.fit(data, method="smoothed", seed=0)
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert 0 < float(known.width) <= 0.4 * model.config.spread
    x = model.sample(400, seed=1)
    assert np.abs(x.std(0) / data.std(0) - 1).max() < 0.3


def test_of_many_numbers_a_smoothed_cloud_is_no_copy_either() -> None:
    """What reaches the next item is noise in its direction alone."""
    rng, t = np.random.default_rng(0), np.linspace(0, 1, 100)
    low, high = rng.uniform(4, 7, (300, 1)), rng.uniform(0, 3, (300, 1))
    data = np.sin(low * t + high)
    model = db.fit(data, method="smoothed", seed=0)
    _, near, ratio = nearest_two(model.sample(40, seed=1), data)
    assert np.mean(ratio < RATIO) < 0.25
    assert np.median(near) < 2 * np.median(left_out(data)[0]), "and it is like the items"


@pytest.mark.parametrize("method", REMEMBER)
def test_a_model_is_kept_and_read_again(method: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = db.fit(stripes(120), method=method, out=out, seed=0)
    assert (out / "weights.safetensors").is_file()
    assert not (out / "training" / "state.safetensors").exists()
    again = db.load(out)
    assert (again.sample(3, seed=5) == made.sample(3, seed=5)).all()
    assert again.config.network.kind == "none"


def test_classes_are_remembered_apart() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    data = rng.normal(size=(200, 2)) + 20 * y[:, None]
    model = db.fit(data, y, method="recorded", seed=0)
    assert (model.sample(30, label=0, seed=1) < 10).all()
    assert (model.sample(30, label=1, seed=1) > 10).all()


def test_a_class_of_few_is_remembered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 pictures 20 are kept, and the three of class b among them."""
    monkeypatch.setattr(start, "MOST_PATCHED", 0)
    monkeypatch.setattr(start, "LEAST_PATCHED", 20)
    data, y = stripes(), np.array(["a"] * 300)
    y[[7, 100, 250]] = "b"
    data[y == "b"] //= 8
    model = db.fit(data, y, method="patches", held_out=0, seed=0)
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert known.labels.bincount().tolist() == [17, 3]
    assert (known.points == db.fit(data, y, method="patches", held_out=0).denoiser.network.closed_form.points).all()
    assert model.sample(3, label="b", seed=1).mean() < 32
    assert len(model.sample(60, seed=1)) == 60


@pytest.mark.parametrize(
    ("counts", "most", "kept"),
    [((500, 500), 100, None), ((90, 6, 2), 40, (32, 6, 2)), ((50, 1, 1, 1), 4, (1, 1, 1, 1)), ((3, 2), 9, (3, 2))],
)
def test_half_of_what_is_kept_is_shared_alike(counts: tuple, most: int, kept: tuple | None) -> None:
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    index = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    found = start.of_each(index, label[index], most)
    assert (found.sort().values == torch.arange(len(label))).all()
    of = label[found[:most]].bincount()
    assert of.tolist() == list(kept) if kept else 35 < int(of[0]) < 65


def test_a_class_without_an_item_is_told() -> None:
    memory = Memory(MemorySpec(kind="recorded", items=4, classes=2), (2,), 1.0)
    memory.labels.zero_()
    with pytest.raises(BadInput, match="no item of class number 1 is remembered"):
        memory.mean(torch.zeros(1, 2), torch.ones(1), torch.ones(1, dtype=torch.int64))


@pytest.mark.parametrize("n", [25, 50])
def test_of_few_items_a_fifth_is_left_out(n: int) -> None:
    known = db.fit(stripes(n), method="patches", seed=0).denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert int(known.sizes.max()) >= 5
    known = db.fit(stripes(n), method="smoothed", seed=0).denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert float(known.width) > 0


@pytest.mark.parametrize("kind", ["recorded", "patches"])
def test_a_class_is_cut_out_once(kind: Kind) -> None:
    memory = Memory(MemorySpec(kind=kind, items=40, classes=2), (1, 4, 4), 1.0)
    memory.points.normal_(generator=torch.Generator().manual_seed(0))
    memory.labels.copy_(torch.arange(40) % 2)
    y, ratio, told = torch.zeros(3, 1, 4, 4), torch.ones(3), torch.ones(3, dtype=torch.int64)
    first, cut = memory.mean(y, ratio, told), memory._recall(1).points
    memory.mean(y, ratio, told)
    assert memory._recall(1).points is cut
    memory.points += 1
    assert not torch.allclose(memory.mean(y, ratio, told), first, atol=0.1), "other weights are other items"


def verdict_of(known: Memory, items: int) -> str:
    return remembered.verdict(items, known).text


def test_the_verdict_says_what_is_not_done() -> None:
    flat = Memory(MemorySpec(kind="smoothed", items=30), (2,), 1.0)
    assert "none is smoothed" in verdict_of(flat, 30)
    flat.width.fill_(0.1)
    assert verdict_of(flat, 30).endswith("; smoothed by 0.1 deviations of the data in each number")
    pictures = Memory(MemorySpec(kind="patches", items=30), (1, 4, 4), 1.0)
    assert "30 of 70 items are remembered" in verdict_of(pictures, 70)
    assert "patches of one pixel" in verdict_of(pictures, 70)
    pictures.sizes[3] = 3
    assert "one pixel" not in verdict_of(pictures, 70)


@pytest.mark.parametrize(("kind", "classes"), [("recorded", 1), ("smoothed", 0)])
def test_the_verdict_says_how_far_the_tree_may_be_off(kind: Kind, classes: int) -> None:
    memory = Memory(MemorySpec(kind=kind, items=2100, classes=classes, draws=2), (2,), 1.0)
    memory.points.normal_(generator=torch.Generator().manual_seed(0))
    if classes:
        memory.labels.zero_()
    memory.width.fill_(0.01)
    said = re.search(r"its tree is off by at most (\S+) of the noise", verdict_of(memory, 2100))
    assert said
    assert 1e-7 < float(said[1]) < 5e-4
    y = memory.points[:200] + 0.02 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    told = memory.labels[:200] if classes else None
    found = memory.mean(y, torch.full((200,), 0.02), told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftback.distributions.recall.MANY", 10**9)
        memory.points.mul_(1)
        exact = memory.mean(y, torch.full((200,), 0.02), told)
        patch.setattr(Recall, "bounded", None)  # not even asked for, which may take long
        assert memory.off() == 0, "without a tree nothing is left out"
    off = float((found - exact).norm(dim=1).max()) / 0.02
    assert off <= float(said[1])


def test_what_a_model_of_many_points_says_is_the_formula_within_a_tolerance() -> None:
    model = db.fit("two-moons", n=20_000, method="recorded", seed=0)
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    ratio = torch.full((50,), 0.3)
    quick = known.mean(y, ratio, None)
    far = torch.cdist(y.double(), known.points.double()) ** 2 / (2 * 0.3**2)
    assert torch.allclose(quick.double(), (-far).softmax(1) @ known.points.double(), atol=2e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "recorded", "steps": 5}, "trains nothing; leave --steps out"),
        ({"method": "recorded", "minutes": 5}, "leave --minutes out"),
        ({"method": "smoothed", "network": "tiny"}, "leave --network out"),
        ({"method": "smoothed", "learning_rate": 0.1}, "leave --learning-rate out"),
        ({"method": "recorded", "captions": ["a cat"] * 60 + ["a dog"] * 60}, "classes alone"),
    ],
)
def test_what_belongs_to_a_training_is_refused(options: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        db.fit(stripes(120), **options)


def test_no_training_is_judged(tmp_path: Path) -> None:
    job = prepare(stripes(120), method="smoothed", held_out=0.2, seed=0, out=tmp_path / "run")
    for _ in job.run():
        pass
    said = "nothing was trained: 96 items are remembered; driftback evaluate tells copies of them"
    summary = job.finish()[1]
    found = summary.verdict
    assert summary.samples_seen == 0
    assert found.startswith(said)
    assert "; smoothed by " in found
    assert not any("averaged weights" in line for line in job.said)


def test_what_remembers_has_no_density() -> None:
    model = db.fit("two-moons", n=200, method="recorded")
    with pytest.raises(BadInput, match="no density"):
        model.score_samples(model.sample(3))


def test_patches_are_compared_pixels_away_too(tmp_path: Path) -> None:
    """Pictures of one stripe each, of one of four rows: moved, it may lie in the others."""
    data = np.zeros((60, 8, 8), np.uint8)
    data[np.arange(60), 1 + np.arange(60) % 4] = 255
    out, drawn = tmp_path / "run", {}
    for shift in (0, 2):
        model = db.fit(data, method="patches", shift=shift, out=out, force=True, seed=0)
        known = db.load(out).denoiser.network.closed_form
        assert isinstance(known, Memory)
        assert known.spec.shift == model.config.closed_form.shift == shift
        known.sizes.fill_(15)
        y = torch.zeros(1, 1, 8, 8)
        y[:, :, 6] = 1.0
        drawn[shift] = known.mean(y, torch.full((1,), 0.3), None)[0, 0, 6]
    assert float(drawn[0].max()) < float(drawn[2].min()) - 0.5
    (out / "weights.safetensors").unlink()  # as a kill leaves it
    with pytest.raises(BadInput, match="planned with shift 2, not 0"):
        db.fit(data, method="patches", shift=0, out=out, resume=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "recorded", "shift": 1}, "compares no patches; leave --shift out"),
        ({"method": "edm", "shift": 0}, "compares no patches"),
        ({"method": "patches", "shift": -1}, "shift must be at least 0"),
        ({"method": "patches", "shift": 8}, "8 x 8 pixels cannot be moved by 8"),
        ({"method": "patches", "shift": 1.5}, "whole number"),
    ],
)
def test_what_cannot_be_moved_is_refused(options: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        db.fit(stripes(60), **options)


def test_points_have_no_patches() -> None:
    with pytest.raises(BadInput, match="for pictures"):
        db.fit("two-moons", n=100, method="patches")
