"""Patch-wise and smoothed denoisers against sums written out, and against what they are at their ends."""

import pytest
import torch
from torch import Tensor

from driftback.distributions.patches import LEVELS, Patches, SizedPatches, noise_levels
from driftback.distributions.recall import Recall
from driftback.distributions.smoothing import smoothed
from driftback.errors import BadInput
from driftback.networks.memory import Memory, MemorySpec
from driftback.processes import SCHEDULES, Diffusion
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.heun import Heun
from driftback.scores.patches import PatchDenoiser
from driftback.scores.recorded import RecordedDenoiser
from driftback.scores.smoothed import SmoothedDenoiser


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PICTURES, Y = normal(6, 2, 5, 4), normal(3, 2, 5, 4, seed=1)
PRECISION = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)


def written_out(size: int, shift: int) -> Tensor:
    """The same by loops over pixels, pictures and shifts."""
    out, reach, (high, wide) = torch.empty_like(Y), size // 2, Y.shape[2:]
    for n in range(3):
        for i in range(high):
            for j in range(wide):
                exponents, middles = [], []
                for x in PICTURES:
                    for a in range(-shift, shift + 1):
                        for b in range(-shift, shift + 1):
                            moved = x[
                                :,
                                (torch.arange(high) + a).clamp(0, high - 1)[:, None],
                                (torch.arange(wide) + b).clamp(0, wide - 1)[None],
                            ]
                            rows = slice(max(0, i - reach), i + reach + 1)
                            columns = slice(max(0, j - reach), j + reach + 1)
                            square = ((Y[n, :, rows, columns] - moved[:, rows, columns]) ** 2).sum()
                            exponents.append(-PRECISION[n] * square / 2)
                            middles.append(moved[:, i, j])
                out[n, :, i, j] = torch.stack(exponents).softmax(0) @ torch.stack(middles)
    return out


@pytest.mark.parametrize(("size", "shift"), [(1, 0), (3, 0), (3, 1), (5, 2)])
def test_each_pixel_is_a_mean_by_its_patch(size: int, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = written_out(size, shift)
    assert torch.allclose(Patches(PICTURES, shift).mean(Y, PRECISION, size), expected, atol=1e-9)
    monkeypatch.setattr("driftback.distributions.patch_means.ENTRIES", 100)
    assert torch.allclose(Patches(PICTURES, shift).mean(Y, PRECISION, size), expected, atol=1e-9)
    assert not torch.allclose(Patches(PICTURES, shift).mean(Y, PRECISION, size + 2), expected, atol=1e-3)


def test_a_patch_as_large_as_the_picture_remembers_pictures() -> None:
    whole = Recall(PICTURES.flatten(1)).mean(Y.flatten(1), PRECISION).reshape(Y.shape)
    assert torch.allclose(Patches(PICTURES).mean(Y, PRECISION, 9), whole, atol=1e-9)
    assert torch.allclose(Patches(PICTURES).mean(Y, PRECISION, 99), whole, atol=1e-9)


@pytest.mark.parametrize("ratio", [1e-3, 0.01, 0.05])
def test_single_precision_tells_near_duplicates_apart(ratio: float) -> None:
    """Exponents are in float64 whatever the pictures are: they are differences of squares that are large."""
    x = (normal(1, 1, 16, 16) + ratio * 0.5 * normal(40, 1, 16, 16, seed=1)).float()
    y = (x[:8].double() + ratio * normal(8, 1, 16, 16, seed=2)).float()
    precision = torch.full((8,), ratio**-2, dtype=torch.float64)
    exact = Patches(x.double()).mean(y.double(), precision, 11)
    off = Patches(x).mean(y, precision, 11).double() - exact
    assert float(off.abs().max()) < 1e-4 * ratio + 5e-7


def test_each_noise_level_has_a_size() -> None:
    process = Diffusion(SCHEDULES["vp"](), (2, 5, 4))
    sizes = torch.tensor([1] * 4 + [3] * 4 + [9] * 4)
    denoiser = PatchDenoiser(process, SizedPatches(Patches(PICTURES), sizes))
    levels = noise_levels(1.0)
    for ratio, size in ((0.01, 1), (1.1 * float(levels[5]), 3), (30.0, 9)):
        t = process.time_of(ratio)
        y = Y / process.alpha(t)
        precision = torch.full((3,), ratio**-2, dtype=torch.float64)
        assert torch.allclose(denoiser.denoised(Y, t), Patches(PICTURES).mean(y, precision, size), atol=1e-6)
    t = process.time_of(torch.tensor([0.05, 0.9, 30.0], dtype=torch.float64))
    mixed = denoiser.denoised(Y, t)
    assert all(torch.allclose(mixed[i : i + 1], denoiser.denoised(Y[i : i + 1], t[i]), atol=1e-9) for i in range(3))


def test_the_best_sizes_shrink_with_the_noise() -> None:
    """Pixels are independent but for one common shade: much noise wants large patches, little wants small ones."""
    shade = normal(400, 1, 1, 1, seed=2)
    x = (shade + 0.3 * normal(400, 1, 8, 8, seed=3)).float()
    patches = Patches(x[:340])
    found = SizedPatches.chosen(patches, x[340:], sizes=(1, 3, 5), rng=0)
    assert int(found.sizes[0]) == 1
    assert int(found.sizes[-3]) > 1
    y = x[340:] + normal(60, 1, 8, 8, seed=4).float()
    precision, small = torch.ones(60, dtype=torch.float64), SizedPatches(patches, torch.ones(LEVELS, dtype=torch.int64))
    errors = [float((one.mean(y, precision) - x[340:]).square().mean()) for one in (found, small)]
    assert errors[0] < 0.8 * errors[1]


def test_a_smoothed_cloud_ends_between_its_points() -> None:
    """Points in a row: remembered, every way ends at one of them; smoothed, most end between, and none far away."""
    process = Diffusion(SCHEDULES["edm"](), (1,), 3.0)
    cloud = RecordedDenoiser(process, torch.arange(-5.0, 6.0, dtype=torch.float64)[:, None])
    times = karras(process, 40)
    start = process.simple_at(float(times[0])).sample(300, rng=0).double()
    sharp, soft, same = (
        last(Heun(one)(start, times)).x
        for one in (cloud, SmoothedDenoiser(cloud, 0.7, 32), SmoothedDenoiser(cloud, 0.0))
    )
    assert torch.allclose(sharp, sharp.round(), atol=1e-3)
    assert torch.allclose(same, sharp, atol=1e-9)
    assert float(((soft - soft.round()).abs() > 0.05).double().mean()) > 0.4
    assert float(soft.abs().max()) < 5.01


def test_smoothing_is_a_mean_over_points_near_by() -> None:
    process = Diffusion(SCHEDULES["vp"](), (2,))
    cloud = RecordedDenoiser(process, normal(20, 2), torch.arange(20) % 2)
    x = normal(4, 2, seed=5)
    smooth = SmoothedDenoiser(cloud, 0.7, 4000)
    e = normal(20_000, 2, seed=6)
    shifted = x[:1] + float(process.alpha(0.4)) * 0.7 * e
    expected = cloud.denoised(shifted, 0.4).mean(0)
    assert torch.allclose(smooth.denoised(x[:1], 0.4)[0], expected, atol=0.03)
    assert torch.allclose(
        smooth.given(1).denoised(x, 0.4), SmoothedDenoiser(cloud.given(1), 0.7, 4000).denoised(x, 0.4)
    )


@pytest.mark.parametrize("draws", [1, 2, 7, 8])
def test_opposite_points_leave_what_is_linear(draws: int) -> None:
    x, seen = normal(5, 3), []

    def linear(near: Tensor) -> Tensor:
        seen.extend(near - x)
        return 2 * near - 1

    out = smoothed(linear, x, 0.3, draws)
    assert len(seen) == draws
    pairs = draws // 2
    assert torch.allclose(torch.stack(seen[draws - pairs :]), -torch.stack(seen[:pairs])) if pairs else True
    single = seen[pairs] if draws % 2 else torch.zeros_like(x)
    assert torch.allclose(out, 2 * (x + single / draws) - 1)


def test_few_at_a_time_smooth_as_all_at_once_do(monkeypatch) -> None:
    x, asked = normal(5, 3), []

    def cubes(near: Tensor) -> Tensor:
        asked.append(len(near))
        return near**3

    whole = smoothed(cubes, x, 0.3, 7)
    monkeypatch.setattr("driftback.distributions.smoothing.TOGETHER", 2 * x.numel())
    assert torch.allclose(smoothed(cubes, x, 0.3, 7), whole)
    assert asked == [7, 2, 2, 2, 1]


@pytest.mark.parametrize("draws", [2, 5])
def test_a_model_smooths_as_the_denoiser_does(draws: int) -> None:
    """One rule, for an odd number of draws too."""
    points, y = normal(30, 2).float(), normal(4, 2, seed=3).float()
    memory = Memory(MemorySpec(kind="smoothed", items=30, draws=draws), (2,), 1.0)
    memory.points.copy_(points)
    memory.width.fill_(0.4)
    process = Diffusion(SCHEDULES["edm"](), (2,))
    expected = SmoothedDenoiser(RecordedDenoiser(process, points), 0.4, draws).denoised(y, 0.5 / 80)
    assert torch.allclose(memory.mean(y, torch.full((4,), 0.5), None), expected, atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="pictures"):
        Patches(torch.zeros(5, 3))
    with pytest.raises(BadInput, match="moved by 9"):
        Patches(PICTURES, 9)
    with pytest.raises(BadInput, match="odd"):
        Patches(PICTURES).mean(Y, PRECISION, 4)
    with pytest.raises(BadInput, match="one each"):
        SizedPatches(Patches(PICTURES), torch.ones(3))
    with pytest.raises(BadInput, match="smooth nothing"):
        SmoothedDenoiser(RecordedDenoiser(Diffusion(SCHEDULES["vp"](), (2,)), normal(3, 2)), -1.0)
