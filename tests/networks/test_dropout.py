"""The dropout that makes four masks of one draw does what torch's does: rate, mean, gradient, memory order."""

import pytest
import torch
from torch import Tensor, nn

from driftback.networks.dropout import Dropout


class LosesTheSign(nn.Module):
    """A planted fault: draws without the 64th bit, so that every fourth number is never dropped below one half."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_()
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 65536) - 32768
        return x * kept / (1 - self.p)


def furthest(layer: nn.Module, p: float) -> float:
    """By how many standard errors the share of zeros misses p, at worst over the four places of a draw."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        zeros = (layer(torch.ones(400_000)) == 0).double()
    shares = zeros.reshape(-1, 4).mean(0)
    return float(((shares - p).abs() / (p * (1 - p) / 100_000) ** 0.5).max())


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_each_place_of_a_draw_is_dropped_at_the_rate(p) -> None:
    # Sixteen comparisons at a fixed seed; at 4 standard errors the false-alarm rate of a fresh seed is 0.1 %.
    assert furthest(Dropout(p), p) < 4


def test_a_draw_without_its_sign_is_seen() -> None:
    assert furthest(LosesTheSign(0.2), 0.2) > 20


def test_places_of_a_draw_are_independent() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        zeros = (Dropout(0.3)(torch.ones(400_000)) == 0).double().reshape(-1, 4)
    off = torch.corrcoef(zeros.T) - torch.eye(4, dtype=torch.float64)
    # Six correlations of 100,000 pairs: 5 standard errors, false-alarm rate 3e-6 for a fresh seed.
    assert float(off.abs().max()) < 5 / 100_000**0.5


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(3, 5, 7, 9).to(memory_format=torch.channels_last),
        torch.ones(11, 8)[:, ::2],
        torch.ones(6).expand(4, 6),
        torch.ones(5, 3, dtype=torch.float64),
        torch.ones(0, 3),
    ],
    ids=["channels_last", "strided", "expanded", "float64", "empty"],
)
def test_values_are_zero_or_scaled_and_keep_type_and_order(x) -> None:
    y = Dropout(0.25)(x)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert torch.allclose(y[y != 0], torch.full_like(y[y != 0], 1 / 0.75))
    if x.ndim == 4:
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_is_the_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_nothing_is_dropped_outside_training_or_at_zero() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
