"""The flow in whitened coordinates: still for Gaussian data, there and back, and against another solver."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from driftback.distributions import Mixture
from driftback.processes import SCHEDULES, Diffusion
from driftback.samplers.whitened import Whitened, interpolated, travelled
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

PAIR = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.5, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.4]]]),
)


def flow(process: Diffusion, mixture: Mixture = PAIR, spread: float = 1.2) -> Whitened:
    return Whitened(ExactDenoiser(process, mixture), spread)


@pytest.fixture(params=SCHEDULES)
def process(request: pytest.FixtureRequest) -> Diffusion:
    return Diffusion(SCHEDULES[request.param](), (2,), 1.2)


def test_gaussian_data_stand_still(process: Diffusion) -> None:
    round_ = Mixture(torch.ones(1), torch.zeros(1, 2), 1.44 * torch.eye(2)[None])
    x = round_.sample(20, rng=0)
    found = flow(process, round_).encoded(x)
    assert torch.allclose(found.w, x / 1.2, rtol=1e-5)
    assert found.evaluations < 80, "long steps all the way"
    wrong = flow(process, round_, 0.9).encoded(x)
    assert wrong.evaluations > found.evaluations


def test_there_and_back(process: Diffusion) -> None:
    x, there = PAIR.sample(40, rng=0), flow(process)
    # An error grows where a way decides between the modes. Measured: .014 and 3e-7.
    for tolerance, off in ((1e-4, 5e-2), (1e-7, 1e-5)):
        latents = there.encoded(x, tolerance=tolerance).w
        back = there.decoded(latents, tolerance=tolerance).w
        assert float((back - x).abs().max()) < off
    assert float((there.decoded(latents * 1.1).w - x).abs().max()) > 1e-2
    # Latents of draws of the model are about standard normal.
    many = there.encoded(PAIR.sample(4000, rng=1)).w
    assert float((many.mean(0)).abs().max()) < 4 / math.sqrt(4000) + 0.02
    assert float((many.T @ many / 4000 - torch.eye(2)).abs().max()) < 0.15


def test_it_follows_the_same_way_as_another_solver() -> None:
    process = Diffusion(SCHEDULES["edm"](), (2,), 1.2)
    denoiser, x = ExactDenoiser(process, PAIR), PAIR.sample(3, rng=5)
    there = Whitened(denoiser, 1.2)
    start, end = there.ends(1e-3)

    start, end = (math.log(1.2 * math.tan(clock)) for clock in (start, end))

    def slope(clock: float, y: object) -> object:
        points = torch.tensor(y).reshape(3, 2)
        return (points - denoiser.denoised(points, process.time_of(math.exp(clock)))).flatten().numpy()

    other = solve_ivp(slope, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1]
    expected = torch.from_numpy(other).reshape(3, 2) / math.hypot(1.2, math.exp(end))
    assert torch.allclose(there.encoded(x, tolerance=1e-8).w, expected, atol=1e-6)


def test_an_item_goes_its_own_way() -> None:
    process = Diffusion(SCHEDULES["edm"](), (2,), 1.2)
    x = PAIR.sample(30, rng=0)
    whole = flow(process).encoded(x).w
    assert torch.allclose(flow(process).encoded(x[20:]).w, whole[20:], atol=1e-12)


def test_integrals_along_the_way_are_of_order_five() -> None:
    """int sin l dl and int w^2 dl along w' = -w: known, within the tolerance, at fewer steps for a looser one."""
    spent = []
    for tolerance in (1e-4, 1e-8):

        def slope(w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
            return -w, torch.stack([torch.sin(clock), (w**2).sum(1)], 1)

        w = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        found = travelled(slope, w, 0.0, 3.0, tolerance=tolerance, widths=2)
        assert torch.allclose(found.w, w * math.exp(-3), atol=20 * tolerance)
        assert torch.allclose(found.q[:, 0], torch.full((2,), 1 - math.cos(3.0)).double(), atol=20 * tolerance)
        assert torch.allclose(found.q[:, 1], w[:, 0] ** 2 * (1 - math.exp(-6)) / 2, atol=20 * tolerance)
        back = travelled(slope, found.w, 3.0, 0.0, tolerance=tolerance, widths=2)
        assert torch.allclose(back.w, w, atol=400 * tolerance)
        assert torch.allclose(back.q[:, 0], -found.q[:, 0], atol=20 * tolerance)
        spent.append(found.evaluations)
    # Ten thousand times the accuracy for 10^(4/5) times the steps.
    assert 3 < spent[1] / spent[0] < 9


def test_an_integral_asks_for_steps_of_its_own() -> None:
    """A peak that points which stand still would step over."""

    def slope(w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(w), torch.exp(-50 * (clock - 1.3) ** 2)[:, None]

    found = travelled(slope, torch.zeros(1, 1).double(), 0.0, 6.0, tolerance=1e-6, widths=1)
    assert float(found.q) == pytest.approx(math.sqrt(math.pi / 50), abs=1e-4)


@pytest.mark.timeout(20)
def test_a_rough_way_ends_by_its_shortest_steps() -> None:
    """Also where the rest is hardly longer than one, and is taken with it."""

    def slope(w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        return 1e3 * torch.sin(1e6 * clock)[:, None], torch.zeros(len(w), 0).double()

    for length in (0.3325, 0.3, 0.5):
        found = travelled(
            slope,
            torch.zeros(1, 1).double(),
            0.0,
            1.0,
            tolerance=1e-9,
            shortest=lambda clock, length=length: torch.full_like(clock, length),
        )
        assert found.evaluations <= 1 + 6 * math.ceil(1 / length)


def test_a_way_that_is_no_number_is_told() -> None:
    class Broken(Denoiser):
        process = Diffusion(SCHEDULES["edm"](), (2,), 1.2)

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return torch.where(x[:, :1] > 0, math.nan, 0.5 * x)

    found = Whitened(Broken(), 1.0).encoded(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    assert found.w[0].isnan().all(), "what is lost is told as such"
    assert found.w[1].isfinite().all(), "and the others go on"
    assert found.evaluations > 10


def test_between_two_latents_lies_a_circle() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 50, generator=generator)
    a, b = a / a.norm() * 12, b / b.norm() * 12
    found = interpolated(a, b, torch.linspace(0, 1, 5))
    assert torch.allclose(found[0], a, atol=1e-5)
    assert torch.allclose(found[-1], b, atol=1e-5)
    assert torch.allclose(found.flatten(1).norm(dim=1), torch.full((5,), 12.0), atol=1e-4)
    straight = (a + b) / 2
    assert float(straight.norm()) < 10, "the planted fault: a line leaves the shell"
    assert torch.allclose(interpolated(a, a, torch.tensor([0.5]))[0], a, atol=1e-5)
