"""Augmentation moves pictures exactly as it says, and does not leak into what a model draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import driftback as db
from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.recipes import config as configs
from driftback.recipes.prepare import prepare
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.heun import Heun
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.training import batch
from driftback.training.augment import AUGMENTATIONS, Flip, Shift, augmentations, augmented, numbers
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio

EVENT = (1, 4, 4)
SPEC = NetworkSpec(kind="unet", widths=(16,), depth=1, conditioning=32)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, *event: int) -> Tensor:
    """On the levels 0 .. 16, no two pictures alike."""
    return torch.randint(0, 17, (n, *event), generator=random(1)).float()


def test_a_flip_is_told_by_a_one() -> None:
    x = pictures(200, 3, 5, 6)
    y, told = Flip()(x, random())
    assert told.shape == (200, 1)
    assert set(told.flatten().tolist()) == {0.0, 1.0}
    for before, after, done in zip(x, y, told[:, 0], strict=True):
        assert torch.equal(after, before.flip(-1) if done else before)


def test_a_shift_is_told_by_how_far() -> None:
    x = pictures(300, 2, 16, 25)
    y, told = Shift(share=0.5)(x, random())
    assert told.shape == (300, 2)
    seen = set()
    for before, after, (down, right) in zip(x, y, told, strict=True):
        i, j = round(float(down) * 2), round(float(right) * 3)  # an eighth of 16 and of 25
        seen.add((i, j))
        rows, columns = (torch.arange(16) - i).clamp(0, 15), (torch.arange(25) - j).clamp(0, 24)
        assert torch.equal(after, before[:, rows][:, :, columns])
    assert seen == {(i, j) for i in range(-2, 3) for j in range(-3, 4)}


def test_what_is_done_to_nothing_is_told_by_zeros() -> None:
    for make in (Flip, Shift):
        x = pictures(50, 1, 8, 8)
        y, told = make(share=0.0)(x, random())
        assert torch.equal(x, y)
        assert not told.any()


@pytest.mark.parametrize("names", [("flip",), ("shift",), ("flip", "shift")])
def test_levels_stay_levels_and_a_seed_is_a_change(names: tuple[str, ...]) -> None:
    x = pictures(100, 3, 9, 8)
    y, told = augmented(x, names, random())
    assert told is not None
    assert (y.shape, told.shape) == (x.shape, (100, numbers(names)))
    assert set(y.flatten().tolist()) <= set(range(17))
    assert not torch.equal(x, y)
    again, _ = augmented(x, names, random())
    other, _ = augmented(x, names, random(7))
    assert torch.equal(y, again)
    assert not torch.equal(y, other)
    assert augmented(x, (), random())[1] is None


def test_names_are_told_where_they_are_wrong() -> None:
    assert augmentations("shift, flip", EVENT) == augmentations(["flip", "shift"], EVENT) == ("flip", "shift")
    assert augmentations("none", (2,)) == ()
    with pytest.raises(db.BadInput, match=r"no augmentation 'flop' \(did you mean flip\?\); choose one of none, flip"):
        augmentations("flop", EVENT)
    with pytest.raises(db.BadInput, match="only pictures can be augmented"):
        augmentations("flip", (2,))


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_without_a_change_the_network_is_the_one_that_knows_of_none(kind: str) -> None:
    spec = SPEC.model_copy(update={"kind": kind})
    plain, told = (build(spec, 1, 1, EVENT, 2, seed=3, augment=k) for k in (0, 3))
    with torch.no_grad():
        for p in [*plain.parameters()]:
            p += 0.1 * torch.randn(p.shape, generator=random(5))
        weights = told.state_dict()
        assert set(weights) - set(plain.state_dict()) == {"conditioning.augmented"}
        told.load_state_dict(plain.state_dict(), strict=False)
        told.conditioning.augmented.copy_(torch.randn(32, 3, generator=random(6)))
        x, number, label = torch.randn(4, *EVENT, generator=random(7)), torch.ones(4), torch.tensor([0, 1, 2, 0])
        expected = plain.eval()(x, number, label)
        assert torch.equal(told.eval()(x, number, label), expected)
        assert torch.equal(told(x, number, label, augmented=torch.zeros(4, 3)), expected)
        assert not torch.allclose(told(x, number, label, augmented=torch.ones(4, 3)), expected)


def test_all_other_weights_start_as_they_do_without() -> None:
    plain, told = (build(SPEC, 1, 1, EVENT, 2, seed=3, augment=k) for k in (0, 3))
    for name, weight in plain.state_dict().items():
        assert torch.equal(told.state_dict()[name], weight)
    assert told.conditioning.augmented.all()


def one_sided(n: int) -> Tensor:
    """Bright on the left, dark on the right."""
    x = torch.ones(n, *EVENT)
    x[..., 2:] = -1
    return x + 0.2 * torch.randn(x.shape, generator=random(2))


def share_of_flipped(seed: int = 0) -> float:
    """The share of samples that are brighter on the right, of a model trained with flips."""
    plan = Plan(steps=200, batch=32, learning_rate=1e-2, warmup=10, ema=0.9, augment=("flip",), seed=seed)
    network = build(SPEC, 1, 1, EVENT, 0, seed=seed, augment=1)
    denoiser = LearnedDenoiser(Diffusion(EDM(), EVENT), network, predict_edm(1.0))
    state = State.start(denoiser, plan)
    for _ in train(state, one_sided(256), None, LogNormalRatio(-0.5, 1.2), plan):
        pass
    times = karras(denoiser.process, steps=12)
    start = denoiser.process.simple_at(float(times[0])).sample(100, rng=seed)
    with torch.no_grad():
        x = last(Heun(state.average)(start, times, rng=0)).x
    return float((x[..., :2].mean((1, 2, 3)) < x[..., 2:].mean((1, 2, 3))).double().mean())


def test_flips_do_not_leak() -> None:
    assert share_of_flipped() <= 0.1


def test_flips_leak_where_the_network_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: what test_flips_do_not_leak must reject. Fair flips give 10 of 100 or fewer once in 10^16."""

    def silent(x: Tensor, names: tuple[str, ...], generator: torch.Generator) -> tuple[Tensor, None]:
        return augmented(x, names, generator)[0], None

    monkeypatch.setattr(batch, "augmented", silent)
    assert share_of_flipped() > 0.25


def test_a_model_keeps_how_it_was_augmented(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 8, (40, 6, 6), dtype=np.uint8)
    options = {"steps": 4, "batch": 8, "network": "tiny"}
    plain = db.fit(x, out=tmp_path / "plain", **options)
    job = prepare(x, out=tmp_path / "both", augment="flip,shift", **options)
    next(job.run(stop=lambda: True))
    assert job.state.step == 1
    assert configs.read(tmp_path / "both").plan.augment == ("flip", "shift")
    with pytest.raises(db.BadInput, match="augment"):
        prepare(x, out=tmp_path / "both", resume=True, augment="flip")
    db.fit(x, out=tmp_path / "both", resume=True)
    whole = db.fit(x, out=tmp_path / "whole", augment="flip,shift", **options)
    resumed = db.load(tmp_path / "both")
    assert np.array_equal(resumed.sample(3, steps=3), whole.sample(3, steps=3))
    weights = whole.denoiser.network.state_dict()
    assert weights["conditioning.augmented"].any()
    assert "conditioning.augmented" not in plain.denoiser.network.state_dict()


def test_an_unknown_augmentation_in_a_file_is_damage(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 8, (40, 6, 6), dtype=np.uint8)
    db.fit(x, steps=1, batch=8, network="tiny", augment="flip", out=tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"flip"', '"turn"'))
    with pytest.raises(db.DamagedModel, match="augment"):
        db.load(tmp_path)


def test_every_name_is_an_augmentation() -> None:
    for name, one in AUGMENTATIONS.items():
        assert numbers((name,)) == one(pictures(2, 1, 8, 8), random())[1].shape[1]
    assert replace(Flip(), share=1.0)(pictures(3, 1, 4, 4), random())[1].all()
