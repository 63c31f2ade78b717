"""The loop learns what is known in closed form, and repeats itself to the last bit however it is interrupted."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.errors import DamagedModel, TrainingStopped
from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.scores.exact import ExactDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.training import checkpoint, ema, loop
from driftback.training.levels import level_losses
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio

LAW = LogNormalRatio(-0.5, 1.2)
PLAN = Plan(steps=30, batch=32, warmup=3, ema=0.9)


def two_gaussians() -> Mixture:
    eye = torch.eye(2, dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    return Mixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, torch.stack([0.1 * eye, 0.2 * eye]))


def fresh(dropout: float = 0.2, classes: int = 0) -> LearnedDenoiser:
    spec = NetworkSpec(kind="mlp", widths=(48,), depth=2, dropout=dropout, conditioning=32)
    network = build(spec, 2, 2, (2,), classes)
    return LearnedDenoiser(Diffusion(EDM(), (2,)), network, predict_edm(1.0))


def data(n: int = 200) -> Tensor:
    return two_gaussians().sample(n, rng=0).float()


def weights(state: State) -> list[Tensor]:
    both = [*state.denoiser.network.parameters(), *state.average.network.parameters()]
    return [p.detach().clone() for p in both]


def trained(plan: Plan = PLAN, **options: object) -> State:
    state = State.start(fresh(), plan)
    for _ in train(state, data(), None, LAW, plan, **options):  # type: ignore[arg-type]
        pass
    return state


def error(denoiser: LearnedDenoiser) -> float:
    """Mean squared distance to the exact denoiser, in units of what doing nothing but scaling is away from it."""
    exact = ExactDenoiser(denoiser.process, two_gaussians())
    x0, total, scale = two_gaussians().sample(2000, rng=9), 0.0, 0.0
    for ratio in (0.3, 0.7, 1.5):
        t = float(denoiser.process.time_of(ratio))
        x = denoiser.process.forward(x0, t, rng=10)
        truth = exact.denoised(x, t)
        total += float((denoiser.denoised(x.float(), t).double() - truth).square().mean())
        scale += float((x / (1 + ratio**2) - truth).square().mean())
    return total / scale


def learned() -> State:
    plan = Plan(steps=600, batch=256, learning_rate=3e-3, ema=0.98)
    state = State.start(fresh(dropout=0.0), plan)
    with torch.no_grad():
        assert error(state.average) > 0.9, "untrained, it only scales"
    for _ in train(state, data(20_000), None, LAW, plan):
        pass
    return state


def assert_it_learned(state: State) -> None:
    with torch.no_grad():
        assert error(state.average) < 0.02


def test_learns_the_exact_denoiser() -> None:
    assert_it_learned(learned())


def test_an_average_that_is_never_stepped_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: what test_learns_the_exact_denoiser must reject, though the weights themselves learn."""
    monkeypatch.setattr(ema, "update", lambda average, network, step, decay: None)
    state = learned()
    with pytest.raises(AssertionError):
        assert_it_learned(state)
    assert_it_learned(replace(state, average=replace(state.denoiser, network=state.denoiser.network.eval())))


def test_two_runs_of_one_seed_agree_and_another_differs() -> None:
    one, two = trained(), trained()
    assert all(map(torch.equal, weights(one), weights(two)))
    other = trained(PLAN.model_copy(update={"seed": 1}))
    assert not all(map(torch.equal, weights(one), weights(other)))


def test_global_randomness_is_neither_used_nor_touched() -> None:
    before = torch.random.get_rng_state()
    one = trained()
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng():
        torch.rand(7)
        assert all(map(torch.equal, weights(one), weights(trained())))


@pytest.mark.parametrize(
    ("kind", "optimiser"), [("unet", "adamw"), ("dit", "adamw"), ("unet", "muon"), ("dit", "muon")]
)
def test_resume_of_pictures_is_bit_identical(kind: Literal["unet", "dit"], optimiser: str, tmp_path: Path) -> None:
    """Convolutions keep their weights in another order in memory, which a file does not keep."""
    plan = PLAN.model_copy(update={"steps": 5, "augment": ("shift",), "optimiser": optimiser})
    event, path, width = (2, 6, 6), tmp_path / "state", 16 if optimiser == "muon" else 8
    x0 = torch.randn(40, *event, generator=torch.Generator().manual_seed(0))

    def start() -> State:
        network = build(NetworkSpec(kind=kind, widths=(width,), depth=1, dropout=0.2), 2, 2, event, 0, augment=2)
        return State.start(LearnedDenoiser(Diffusion(EDM(), event), network, predict_edm(1.0)), plan)

    whole, state, resumed = start(), start(), start()
    for _ in train(whole, x0, None, LAW, plan):
        pass
    for step in train(state, x0, None, LAW, plan):
        if step.number == 3:
            break
    checkpoint.save(state, path)
    checkpoint.restore(resumed, path)
    for _ in train(resumed, x0, None, LAW, plan):
        pass
    assert all(map(torch.equal, weights(whole), weights(resumed)))


@pytest.mark.parametrize("stop", [1, 13, 29])
def test_resume_is_bit_identical(stop: int, tmp_path: Path) -> None:
    whole, path = weights(trained()), tmp_path / "state.safetensors"
    state = State.start(fresh(), PLAN)
    for step in train(state, data(), None, LAW, PLAN):
        if step.number == stop:
            checkpoint.save(state, path, seconds=2.5)
            break
    again = State.start(fresh(), PLAN)
    assert checkpoint.restore(again, path) == 2.5
    assert again.step == stop
    for _ in train(again, data(), None, LAW, PLAN):
        pass
    assert all(map(torch.equal, whole, weights(again)))


def test_a_resume_without_the_moments_is_noticed(tmp_path: Path) -> None:
    """Planted fault: what test_resume_is_bit_identical must reject."""
    state = State.start(fresh(), PLAN)
    for step in train(state, data(), None, LAW, PLAN):
        if step.number == 13:
            break
    forgetful = State.start(state.denoiser, PLAN)
    forgetful.average, forgetful.step = state.average, 13
    for _ in train(forgetful, data(), None, LAW, PLAN):
        pass
    assert not all(map(torch.equal, weights(trained()), weights(forgetful)))


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.save(State.start(fresh(), PLAN), path)
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DamagedModel, match=r"state\.safetensors is damaged .*SHA-256"):
        checkpoint.restore(State.start(fresh(), PLAN), path)
    path.write_bytes(raw[:100])
    with pytest.raises(DamagedModel, match=r"state\.safetensors is damaged"):
        checkpoint.restore(State.start(fresh(), PLAN), path)
    with pytest.raises(DamagedModel, match="missing"):
        checkpoint.restore(State.start(fresh(), PLAN), tmp_path / "none.safetensors")


def test_not_finite_keeps_the_last_good_state() -> None:
    x = data()
    x[150, 0] = float("inf")
    state, seen, good = State.start(fresh(), PLAN), [], []

    def run() -> None:
        for step in train(state, x, None, LAW, PLAN):
            seen.append(step.number)
            good[:] = copy.deepcopy(weights(state))

    with pytest.raises(
        TrainingStopped, match=r"not finite at step \d+ .*t from .*float32.*batch itself holds"
    ) as caught:
        run()
    assert f"step {len(seen) + 1} " in str(caught.value)
    assert state.step == len(seen)
    assert all(map(torch.equal, good, weights(state)))
    assert all(bool(p.isfinite().all()) for p in weights(state))


@pytest.mark.parametrize("rate", [10.0, 1e30])
@pytest.mark.parametrize("steps", [1, 30])
def test_an_exploded_loss_restores_a_state_that_was_sane(rate: float, steps: int, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"steps": steps, "learning_rate": rate, "warmup": 0})
    state = State.start(fresh(), plan)
    start = weights(state)

    def run() -> None:
        for step in train(state, data(), None, LAW, plan):
            checkpoint.save(state, tmp_path / "state.safetensors")
            assert step.number < steps, "the last step is looked at too"

    with pytest.raises(TrainingStopped, match=r"exploded|not finite") as caught:
        run()
    assert "state after step 0, whose loss was sane, was restored" in str(caught.value)
    assert state.step == 0
    assert all(map(torch.equal, start, weights(state)))
    if steps == 30:
        # What a kill would have left behind is known for what it is.
        again = State.start(fresh(), plan)
        checkpoint.restore(again, tmp_path / "state.safetensors")
        with pytest.raises(TrainingStopped, match="no better when this run began"):
            next(iter(train(again, data(), None, LAW, plan)))


def test_an_explosion_is_told_from_a_batch_with_an_outlier(monkeypatch: pytest.MonkeyPatch) -> None:
    x = data()
    x[150] = 1e4
    state, losses = State.start(fresh(), PLAN), []
    for step in train(state, x, None, LAW, PLAN):
        losses.append(step.loss)
    assert max(losses) > loop.EXPLODED * 2
    assert state.step == PLAN.steps
    # Planted fault: a training that looks at nothing but NaN ends with weights that no loss has seen.
    monkeypatch.setattr(loop, "EXPLODED", math.inf)
    plan = PLAN.model_copy(update={"steps": 1, "learning_rate": 1e4, "warmup": 0})
    blind = State.start(fresh(), plan)
    assert len(list(train(blind, data(), None, LAW, plan))) == 1
    assert max(float(p.abs().max()) for p in weights(blind)) > 1e3


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, sizes = LearnedDenoiser.output, []

    def narrow(self: LearnedDenoiser, x: Tensor, t: Tensor) -> Tensor:
        if len(x) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes")
        sizes.append(len(x))
        return usual(self, x, t)

    plan = PLAN.model_copy(update={"steps": 5})
    whole = State.start(fresh(dropout=0.0), plan)
    losses = [step.loss for step in train(whole, data(), None, LAW, plan)]
    monkeypatch.setattr(LearnedDenoiser, "output", narrow)
    state = State.start(fresh(dropout=0.0), plan)
    found = [step.loss for step in train(state, data(), None, LAW, plan)]
    assert state.parts == 4
    assert set(sizes) == {8}
    # The gradients are the whole batch's, up to rounding.
    assert found == pytest.approx(losses, rel=1e-4)
    monkeypatch.setattr(LearnedDenoiser, "output", lambda self, x, t: narrow(self, torch.zeros(9, 2), t))
    with pytest.raises(TrainingStopped, match="one item"):
        next(iter(train(State.start(fresh(), plan), data(), None, LAW, plan)))


def test_gradients_are_clipped_and_told_as_they_were() -> None:
    plan = PLAN.model_copy(update={"clip": 1e-3})
    state = State.start(fresh(), plan)
    for step in train(state, data(), None, LAW, plan):
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in state.denoiser.network.parameters()))
        assert step.gradient > 1e-2
        assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_average_takes_the_weights_after_the_step() -> None:
    state = State.start(fresh(), PLAN)
    start = [p.detach().clone() for p in state.average.network.parameters()]
    next(train(state, data(), None, LAW, PLAN))
    for before, mean, now in zip(
        start, state.average.network.parameters(), state.denoiser.network.parameters(), strict=True
    ):
        assert torch.allclose(mean, 0.1 * before + 0.9 * now, atol=1e-7)
    assert any(not torch.equal(b, p) for b, p in zip(start, state.denoiser.network.parameters(), strict=True))


def test_every_step_has_its_own_noise_and_levels_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor, float]] = []
    usual = loop._gradients

    def spy(state: State, x: Tensor, y: None, t: Tensor, noise: Tensor, rng: Rng) -> Tensor:
        seen.append((t.clone(), noise.clone(), state.optimiser.param_groups[0]["lr"]))
        return usual(state, x, y, t, noise, rng)

    monkeypatch.setattr(loop, "_gradients", spy)
    told = [step.rate for step in train(State.start(fresh(), PLAN), data(), None, LAW, PLAN)]
    # After the last step its batch is looked at once more, to see that the weights are sane.
    times, noises, rates = zip(*seen[: PLAN.steps], strict=True)
    # 30 steps of 64 numbers: correlations have standard error .125, and one of 435 is beyond 5 once in 4,000 seeds.
    correlation = torch.corrcoef(torch.stack([noise.flatten() for noise in noises])).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 0.625
    assert len({tuple(t.tolist()) for t in times}) == 30
    assert list(rates) == told == [PLAN.rate(k) for k in range(30)]


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LearnedDenoiser, x: Tensor, t: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(LearnedDenoiser, "output", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        next(iter(train(State.start(fresh(), PLAN), data(), None, LAW, PLAN)))


def test_labels_are_dropped_at_the_stated_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    usual = LearnedDenoiser.output

    def spy(self: LearnedDenoiser, x: Tensor, t: Tensor) -> Tensor:
        seen.append(torch.as_tensor(self.label))
        return usual(self, x, t)

    monkeypatch.setattr(LearnedDenoiser, "output", spy)
    state = State.start(fresh(classes=3), PLAN)
    for _ in train(state, data(), torch.arange(200) % 3, LAW, PLAN.model_copy(update={"label_drop": 0.25})):
        pass
    share = float((torch.cat(seen) == 3).double().mean())
    # 960 labels: the share has standard error .014; 4 of them is a false alarm in 15,000.
    assert abs(share - 0.25) < 0.056


def test_dequantising_spreads_over_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Tensor] = []
    usual = loop._gradients

    def spy(state: State, x: Tensor, *rest: object) -> Tensor:
        shown.append(x.clone())
        return usual(state, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_gradients", spy)
    for _ in train(State.start(fresh(), PLAN), torch.zeros(50, 2), None, LAW, PLAN, cell=torch.tensor(0.5)):
        pass
    x = torch.cat(shown)
    assert float(x.abs().max()) <= 0.25
    assert float(x.var()) == pytest.approx(0.25 / 12, rel=0.1)


def test_level_losses_are_fixed_and_per_level() -> None:
    state, x = trained(), data(80)
    one = level_losses(state.average, x, None, LAW, rng=Rng(1))
    assert one == level_losses(state.average, x, None, LAW, rng=Rng(1))
    assert one.loss == pytest.approx(level_losses(state.average, x, None, LAW, rng=Rng(1), batch=7).loss, rel=1e-5)
    assert len(one.loss) == 8
    assert list(one.ratio) == sorted(one.ratio)
    assert len(level_losses(state.average, x[:3], None, LAW, rng=Rng(1)).loss) == 3


def test_level_losses_stand_beside_the_noise_that_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that are 0: what the network is shown is noise of the level that the loss is told for."""
    shown: list[tuple[Tensor, Tensor]] = []
    usual = LearnedDenoiser.output

    def spy(self: LearnedDenoiser, x: Tensor, t: Tensor) -> Tensor:
        shown.append((x, t))
        return usual(self, x, t)

    monkeypatch.setattr(LearnedDenoiser, "output", spy)
    found = level_losses(fresh(), torch.zeros(1600, 2), None, LAW, rng=Rng(1))
    x, t = (torch.cat(part) for part in zip(*shown, strict=True))
    for k, ratio in enumerate(found.ratio):
        assert EDM().sigma(t[k::8]).numpy() == pytest.approx(ratio)
        # 400 numbers a level: 4 standard errors of a deviation are 14 %.
        assert float(x[k::8].std()) == pytest.approx(ratio, rel=0.14)
    u = (torch.arange(8, dtype=torch.float64) + 0.5) / 8
    assert found.ratio == pytest.approx(EDM().sigma(LAW.quantile(u, fresh().process)).tolist())


def test_ema_warm_up_forgets_the_start() -> None:
    assert math.prod(ema.decay_at(k, 0.9999) for k in range(100)) < 1e-6
    assert 0.9999**100 > 0.98, "without the warm-up a short training would sample its first weights"
