"""The small parts of training, each against its closed form."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import SCHEDULES
from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.training import ema, speed
from driftback.training.health import Measurement, verdict
from driftback.training.levels import LevelLosses
from driftback.training.loop import State, train
from driftback.training.order import batch_indices
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio, UniformTimes, stratified


class TestOrder:
    @pytest.mark.parametrize(("items", "batch"), [(10, 3), (7, 7), (5, 12)])
    def test_every_epoch_is_a_shuffle(self, items: int, batch: int) -> None:
        rng = Rng(0)
        seen = np.concatenate([batch_indices(rng, k, batch, items) for k in range(items)])
        epochs = seen[: batch * items].reshape(batch, items)
        assert (np.sort(epochs, 1) == np.arange(items)).all()
        assert len({tuple(e) for e in epochs.tolist()}) > 1, "every epoch has its own order"

    def test_a_step_needs_no_past(self) -> None:
        assert (batch_indices(Rng(3), 1000, 4, 9) == batch_indices(Rng(3), 1000, 4, 9)).all()
        assert (batch_indices(Rng(3), 0, 9, 9) != batch_indices(Rng(4), 0, 9, 9)).any()


class TestTimes:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_log_normal_ratio(self, schedule: str) -> None:
        process = Diffusion(SCHEDULES[schedule](), (1,))
        u = torch.linspace(0.3, 0.7, 9, dtype=torch.float64)
        ratio = process.ratio(LogNormalRatio(-1.2, 1.2).quantile(u, process)).numpy()
        assert np.allclose(np.log(ratio), stats.norm(-1.2, 1.2).ppf(u.numpy()), atol=1e-9)

    def test_uniform(self) -> None:
        process = Diffusion(SCHEDULES["vp"](), (1,))
        found = UniformTimes(0.1).quantile(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), process)
        assert found.tolist() == pytest.approx([0.1, 0.55, 1.0])

    def test_strata_hold_one_each(self) -> None:
        u = stratified(64, torch.Generator().manual_seed(0))
        assert (u * 64).floor().tolist() == list(range(64))
        # Planted fault: plain uniform numbers leave strata empty.
        plain = torch.rand(64, generator=torch.Generator().manual_seed(0))
        assert len(set((plain * 64).floor().tolist())) < 64


class TestPlan:
    def test_rate(self) -> None:
        plan = Plan(steps=100, learning_rate=1.0, warmup=10, decay_from=0.5)
        assert plan.rate(0) == pytest.approx(0.1)
        assert plan.rate(9) == plan.rate(50) == 1.0
        assert plan.rate(75) == pytest.approx(0.5)
        assert plan.rate(99) == pytest.approx(0.02)

    def test_is_json(self) -> None:
        plan = Plan(steps=5, seed=3)
        assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_ema_is_the_recursion() -> None:
    network, average = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(0.0)
    value = 0.0
    for k in range(200):
        with torch.no_grad():
            network.weight.fill_(math.sin(k))
        ema.update(average, network, k, 0.95)
        decay = min(0.95, (1 + k) / (10 + k))
        value = decay * value + (1 - decay) * math.sin(k)
    assert average.weight.item() == pytest.approx(value, abs=1e-5)
    assert ema.decay_at(10_000, 0.95) == 0.95
    assert ema.trails(100, 0.9999)
    assert not ema.trails(10_000, 0.99)


def test_a_batch_that_is_cut_has_the_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = NetworkSpec(kind="mlp", widths=(32,), depth=2, dropout=0.0, conditioning=16)
    plan, x = Plan(steps=1, batch=30, clip=1e9), torch.randn((50, 3), generator=torch.Generator().manual_seed(0))
    usual, parts = LearnedDenoiser.output, []

    def gradients(most: int) -> torch.Tensor:
        def narrow(self: LearnedDenoiser, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            if len(x) > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes")
            return usual(self, x, t)

        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build(spec, 3, 3, (3,), 0)
        denoiser = LearnedDenoiser(Diffusion(SCHEDULES["edm"](), (3,)), network, predict_edm(1.0))
        state = State.start(denoiser, plan)
        monkeypatch.setattr(LearnedDenoiser, "output", narrow)
        next(iter(train(state, x, None, LogNormalRatio(-1.2, 1.2), plan)))
        parts.append(state.parts)
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    whole, cut, uneven = gradients(30), gradients(15), gradients(4)
    assert parts == [1, 2, 8], "30 items in 8 parts: of 3 and of 4"
    scale = float(whole.abs().max())
    assert float((cut - whole).abs().max()) < 1e-5 * scale
    assert float((uneven - whole).abs().max()) < 1e-5 * scale
    # Planted fault: parts that are averaged by their own sizes would be up to a third off.
    assert float((whole / 2 - whole).abs().max()) > 1e-5 * scale


def history(train: list[float], held: list[float] | None) -> list[Measurement]:
    def losses(value: float) -> LevelLosses:
        return LevelLosses((0.1, 1.0), (value, value))

    pairs = zip(train, held or [None] * len(train), strict=True)
    return [Measurement(100 * (i + 1), losses(t), None if h is None else losses(h)) for i, (t, h) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("train", "held", "words", "since"),
    [
        ([1.0, 0.8, 0.7, 0.69], [1.0, 0.85, 0.8, 0.8], "healthy", None),
        ([1.0, 0.8, 0.6, 0.4], [1.0, 0.85, 0.9, 1.1], "memorising since step 200; the best checkpoint is 200", 200),
        ([1.0, 0.8, 0.6, 0.5], [1.0, 0.8, 0.6, 0.5], "still improving", None),
        ([1.0, 1.1], [1.0, 1.2], "not learning", None),
        ([1.0, 0.8, 0.7, 0.69, 0.68], [1.0, 0.8, 0.803, 0.806, 0.81], "held-out loss rising since step 200; the", None),
        ([1.0, 0.8, 0.7, 0.69, 0.68], [1.0, 0.8, 0.809, 0.807, 0.808], "healthy", None),
        ([1.0, 0.8, 0.7, 0.69, 0.68], [1.0, 0.8, 0.801, 0.802, 0.803], "healthy", None),
        ([1.0, 0.5], None, "nothing was held out", None),
    ],
)
def test_verdict(train: list[float], held: list[float] | None, words: str, since: int | None) -> None:
    found = verdict(history(train, held))
    assert words in found.text
    assert found.memorising_since == since


def test_a_training_that_goes_on_is_told_in_the_present() -> None:
    falling, level = history([1.0, 0.8, 0.6], [1.0, 0.8, 0.6]), history([1.0, 0.8, 0.79], [1.0, 0.8, 0.799])
    assert verdict(falling, ended=False).text == "improving"
    assert verdict(level, ended=False).text == "healthy: the held-out loss is level"
    assert "ended" in verdict(falling).text
    assert "settled" in verdict(level).text


def test_few_steps_say_nothing() -> None:
    losses = LevelLosses((0.1,), (1.0,))
    assert "too few steps" in verdict([Measurement(14, losses, losses)]).text


def test_measurements_survive_json() -> None:
    for m in (history([1.0], [2.0])[0], history([1.0], None)[0]):
        assert Measurement.from_json(json.loads(json.dumps(m.as_json()))) == m


def test_speed_is_remembered_while_it_is_near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert speed.remembered("a", 1.0) == 1.0
    assert speed.remembered("a", 1.2) == 1.0
    assert speed.remembered("b", 1.2) == 1.2
    assert speed.remembered("a", 2.0) == 2.0, "a machine that became slower is measured again"
    assert speed.remembered("a", 1.9) == 2.0
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert speed.remembered("a", 3.0) == 3.0, "a folder that cannot be written to is no error"
