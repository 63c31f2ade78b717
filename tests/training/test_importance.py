"""Times drawn by importance leave the mean as it is, lower the variance, and repeat themselves to the last bit."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from driftback.errors import BadInput, DamagedModel
from driftback.files import read_tensors, write_tensors
from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, LogSNR
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm, predict_noise
from driftback.training import checkpoint, loop
from driftback.training.batch import batch_of
from driftback.training.drawing import DRAWINGS, ByImportance, refuse_unknown
from driftback.training.importance import BINS, LossAware
from driftback.training.items import Items
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio, UniformTimes, stratified

LAW = LogNormalRatio(-0.5, 1.2)
PLAN = Plan(steps=30, batch=32, warmup=3, ema=0.9, times="importance", weighting="likelihood", snapshots=4)


def fresh() -> LearnedDenoiser:
    network = build(NetworkSpec(kind="mlp", widths=(24,), depth=1, conditioning=16), 2, 2, (2,), 0)
    return LearnedDenoiser(Diffusion(EDM(), (2,)), network, predict_edm(1.0))


def data() -> Tensor:
    return torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


def taught(steep: float = 3.0) -> LossAware:
    """One that has seen losses which fall as exp(-steep u)."""
    found = LossAware()
    for k in range(20):
        u = stratified(4 * BINS, torch.Generator().manual_seed(k))
        found.observe(u, torch.exp(-steep * u))
    return found


V = (torch.arange(256_000, dtype=torch.float64) + 0.5) / 256_000


@pytest.mark.parametrize("steep", [-4.0, 0.5, 6.0])
def test_the_mean_of_any_loss_stays(steep: float) -> None:
    """Exact but for the midpoint rule: its error is under 1e-6 of the mean for losses that are smooth in each bin."""
    u, factor = taught(steep).draw(V)
    for loss in (torch.exp(-3 * u), u**2, torch.sin(9 * u), (u < 0.25).double()):
        plain = {0: (1 - math.exp(-3)) / 3, 1: 1 / 3, 2: (1 - math.cos(9)) / 9, 3: 0.25}
        wanted = min(plain.values(), key=lambda value: abs(value - float((loss * factor).mean())))
        assert float((loss * factor).mean()) == pytest.approx(wanted, rel=2e-5)
    # Planted fault: losses that are drawn more often and not counted less.
    assert float(torch.exp(-3 * u).mean()) != pytest.approx((1 - math.exp(-3)) / 3, rel=0.02)
    assert float(factor.max()) <= 10


def test_the_density_goes_with_the_root_of_the_second_moment_and_lowers_the_variance() -> None:
    one = taught(3.0)
    middle = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    root = torch.exp(-3 * middle)
    assert torch.allclose(one.density, 0.1 + 0.9 * root / root.mean(), rtol=1e-3)
    assert float(one.density.mean()) == pytest.approx(1)
    u, factor = one.draw(V)
    plain = torch.exp(-3 * V)
    assert float((torch.exp(-3 * u) * factor).var()) < 0.05 * float(plain.var())
    assert torch.equal(u, u.sort().values)  # the quantiles rise: a monotone schedule


def test_before_enough_is_seen_the_times_are_uniform() -> None:
    one = LossAware()
    one.observe(torch.zeros(1000, dtype=torch.float64), torch.ones(1000))
    u, factor = one.draw(V)
    assert torch.allclose(u, V, atol=1e-12)
    assert torch.equal(factor, torch.ones_like(V))
    spoilt = taught()
    spoilt.observe(torch.zeros(1, dtype=torch.float64), torch.tensor([math.inf]))
    assert torch.equal(spoilt.density, torch.ones(BINS, dtype=torch.float64)), "what is not finite says nothing"


def test_old_losses_are_forgotten() -> None:
    one = taught(3.0)
    for k in range(100):
        u = stratified(4 * BINS, torch.Generator().manual_seed(k))
        one.observe(u, torch.ones_like(u))
    assert torch.allclose(one.density, torch.ones(BINS, dtype=torch.float64), atol=0.02)


def test_the_bound_does_not_depend_on_the_schedule() -> None:
    """VDM: 1/2 int gamma' E|eps - eps_hat|^2 over any monotone schedule between the same ends is, for N(0, s^2) data
    and the exact eps_hat, the closed form [gamma - log(s^2 + e^gamma)] / 2 at the ends.
    """
    s, schedule, predicted = 0.6, LogSNR(), predict_noise(0.6)
    ends = (schedule.low, schedule.high)
    wanted = [(gamma - math.log(s**2 + math.exp(gamma))) / 2 for gamma in ends]
    for steep in (-5.0, 0.0, 2.0, 8.0):
        u, factor = taught(steep).draw(V)
        alpha, sigma = schedule.alpha(u), schedule.sigma(u)
        error = s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)  # of x_0
        natural = predicted.natural(alpha, sigma)
        assert natural is not None
        found = float((factor * natural * error).mean()) * (ends[1] - ends[0]) / 2
        assert found == pytest.approx(wanted[1] - wanted[0], rel=1e-5), steep
        # Planted fault: the slope of the schedule is left out.
        if abs(steep) > 1:
            assert float((natural * error).mean()) * (ends[1] - ends[0]) / 2 != pytest.approx(found, rel=0.02)


def test_the_loss_of_a_training_keeps_its_mean() -> None:
    """The same weights, 300 batches: the means differ by chance alone, under 4 standard errors (once in 15,000)."""
    plan = PLAN.model_copy(update={"weighting": "min-snr", "batch": 64})
    state = State.start(fresh(), plan)
    for _ in train(state, data(), None, LAW, plan.model_copy(update={"steps": 60})):
        pass
    state.denoiser.network.eval()
    taught_density = state.drawing.density  # type: ignore[attr-defined]
    assert float(taught_density.max() / taught_density.min()) > 2
    plain = State(state.denoiser, state.average, state.optimiser)

    def losses(which: State) -> Tensor:
        batches = (
            batch_of(which.denoiser, which.drawing, Items.of(data()), LAW, plan, 1000 + k, None, "cpu")
            for k in range(300)
        )
        return torch.stack([loop._attempt(which, batch, plan)[0] for batch in batches]).double()

    one, other = losses(state), losses(plain)
    error = math.sqrt(float(one.var() + other.var()) / 300)
    assert abs(float(one.mean() - other.mean())) < 4 * error
    assert error < 0.03 * float(other.mean())
    # Planted fault: without 1 / q.
    patched = copy.copy(state)
    patched.drawing = lambda n, generator: (state.drawing(n, generator)[0], None)  # type: ignore[assignment]
    assert abs(float(losses(patched).mean() - other.mean())) > 8 * error


def trained(stop: int, path: Path) -> State:
    state = State.start(fresh(), PLAN)
    for step in train(state, data(), None, LAW, PLAN):
        if step.number == stop:
            checkpoint.save(state, path)
            break
    return state


def everything(state: State) -> list[Tensor]:
    assert state.averages is not None
    networks = [*state.denoiser.network.parameters(), *state.average.network.parameters()]
    return [*(p.detach() for p in networks), *state.drawing.tensors().values(), *state.averages.tensors().values()]


def resumed(path: Path) -> list[Tensor]:
    state = State.start(fresh(), PLAN)
    checkpoint.restore(state, path)
    for _ in train(state, data(), None, LAW, PLAN):
        pass
    return everything(state)


@pytest.mark.parametrize("stop", [1, 25])
def test_a_resume_with_times_weights_and_averages_is_bit_identical(stop: int, tmp_path: Path) -> None:
    whole, path = everything(trained(0, tmp_path / "none")), tmp_path / "state.safetensors"
    trained(stop, path)
    assert all(map(torch.equal, whole, resumed(path)))


@pytest.mark.parametrize("forgotten", ["drawing/moments", "averages/0.05/"])
def test_a_resume_that_forgets_is_noticed(forgotten: str, tmp_path: Path) -> None:
    """Planted fault: what was learned of the losses, or an average, is lost."""
    whole, path = everything(trained(0, tmp_path / "none")), tmp_path / "state.safetensors"
    trained(25, path)
    tensors, about = read_tensors(path)
    assert any(name.startswith(forgotten) for name in tensors)
    write_tensors(path, {n: torch.zeros_like(t) if n.startswith(forgotten) else t for n, t in tensors.items()}, about)
    assert not all(map(torch.equal, whole, resumed(path)))
    write_tensors(path, {n: t for n, t in tensors.items() if not n.startswith(forgotten)}, about)
    with pytest.raises(DamagedModel, match="does not belong to this model"):
        resumed(path)


def test_drawings_by_name() -> None:
    generator = torch.Generator().manual_seed(0)
    for name, make in DRAWINGS.items():
        u, factor = make()(1000, generator)
        assert ((u >= 0) & (u < 1)).all()
        assert u.dtype == torch.float64
        assert (factor is None) == (name != "importance")
        assert abs(float(u.mean()) - 0.5) < 0.05
        counts = torch.histc(u, 1000, 0, 1)
        assert (bool((counts == 1).all())) == (name != "independent")
    assert isinstance(DRAWINGS["importance"](), ByImportance)
    with pytest.raises(BadInput, match="no times 'even'; choose one of stratified, independent, importance"):
        refuse_unknown("even")


def test_nothing_changes_where_nothing_is_asked() -> None:
    plan = Plan(steps=5, batch=32)
    state = State.start(fresh(), plan)
    batch = batch_of(state.denoiser, state.drawing, Items.of(data()), UniformTimes(), plan, 3, None, "cpu")
    assert batch.weight is None
    assert batch.factor is None


def test_what_is_observed_is_the_loss_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the loss as it is counted: the losses of this network that says 0 are of one size at all noise levels."""
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(ByImportance, "observe", lambda self, u, losses: seen.append((u, losses)))
    plan = Plan(steps=12, batch=512, warmup=100, learning_rate=1e-9, times="importance")
    state = State.start(fresh(), plan)
    given = taught(4.0)
    state.drawing.restore(given.tensors())
    for _ in train(state, data(), None, LAW, plan):
        pass
    u, losses = (torch.cat(part) for part in zip(*seen, strict=True))
    low, high = losses[u < 0.3].mean(), losses[u > 0.7].mean()
    # 1,000 losses and more on either side, of mean 1 and deviation 1: 5 standard errors are .2.
    assert abs(float(low - high)) < 0.2
    assert len(u) == 12 * 512


def test_the_averages_count_the_steps() -> None:
    """After the first step both are its weights; nothing of the start is left."""
    plan = PLAN.model_copy(update={"steps": 2})
    state = State.start(fresh(), plan)
    next(train(state, data(), None, LAW, plan))
    assert state.averages is not None
    now = [p.detach() for p in state.denoiser.network.parameters()]
    assert all(map(torch.equal, state.averages.values[0], now))
    assert all(map(torch.equal, state.averages.values[1], now))
