"""Each cause is planted alone, in a model that is otherwise exact, and has to be the one that is named."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import driftback as db
from driftback.processes import EDM, Diffusion
from driftback.recipes.diagnose import COPIES, SCORE, START, STEPS, diagnose
from driftback.recipes.evaluate import RealItems, original
from driftback.recipes.known_target import known_target
from driftback.scores.denoiser import Denoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.recorded import RecordedDenoiser


@dataclass(frozen=True)
class Standing(LearnedDenoiser):
    """Another denoiser in the place of the network."""

    other: Denoiser | None = None

    def denoised(self, x, t):
        return self.other.denoised(x, t)


@pytest.fixture(scope="module")
def fitted():
    model = db.fit("two-gaussians", n=1500, steps=2, batch=64)
    return model, original(model.config)


def standing(model, real, make=None, process=None):
    """The model with an exact denoiser, or with what `make` makes of it."""
    learned = model.denoiser if process is None else replace(model.denoiser, process=process)
    known = known_target(replace(model, denoiser=learned), real.train).denoiser
    other = known if make is None else make(known)
    parts = (learned.process, learned.network, learned.parametrisation)
    return replace(model, denoiser=Standing(*parts, other=other))


def test_an_exact_model_has_no_fault(fitted) -> None:
    found = diagnose(standing(*fitted), fitted[1], n=600)
    assert found.passed, found.conclusion
    assert "its target's exact score" in found.conclusion
    errors = [check for check in found.checks if check.name.startswith(f"{SCORE}: of D")]
    assert len(errors) >= 5
    assert all(check.value < 1e-6 for check in errors)


@pytest.mark.slow
def test_two_steps_of_a_network_are_a_score_error(fitted) -> None:
    found = diagnose(*fitted, n=600)
    assert not found.passed
    assert f"largest cause: {SCORE}" in found.conclusion


def test_few_steps_are_discretisation(fitted) -> None:
    found = diagnose(standing(*fitted), fitted[1], n=600, steps=4)
    assert f"largest cause: {STEPS}" in found.conclusion
    assert any(check.name.startswith(f"{STEPS}: items move") and check.value > 0.05 for check in found.checks)


def test_a_start_that_is_too_wide_is_the_terminal_mismatch(fitted) -> None:
    """Noise of one spread only, and a start as if the data were four times as wide."""
    spread = fitted[0].config.spread
    process = Diffusion(EDM(spread), (2,), 4 * spread)
    found = diagnose(standing(*fitted, process=process), fitted[1], n=600)
    assert f"largest cause: {START}" in found.conclusion
    (nats,) = (check for check in found.checks if check.name == f"{START}: nats")
    assert nats.value > 1
    assert nats.standard_error < 0.1


def test_copies_are_memorising(fitted) -> None:
    model, real = fitted
    few = RealItems(real.train.take(np.arange(60)), real.held)
    items = model.config.preprocessing.encode(few.train.x)
    copier = standing(model, real, lambda known: RecordedDenoiser(known.process, items))
    found = diagnose(copier, few, n=600)
    assert f"largest cause: {COPIES}" in found.conclusion
    assert found.checks[-1].value > 0.9


def test_encoding_a_mixture_keeps_its_score(fitted) -> None:
    """Against 40,000 fresh points of the shape, encoded one by one: their recorded denoiser is near to the formula."""
    from driftback.distributions.shapes2d import SHAPES

    model, real = fitted
    known, process = known_target(model, real.train), model.denoiser.process
    points = model.config.preprocessing.encode(SHAPES["two-gaussians"]().sample(40_000, rng=3).numpy())
    t = float(process.time_of(torch.tensor(model.config.spread, dtype=torch.float64)))
    x = process.forward(points[:200], t, rng=1)
    off = RecordedDenoiser(process, points).denoised(x, t) - known.denoiser.denoised(x, t)
    assert float(off.square().mean().sqrt()) < 0.02 * model.config.spread


def test_what_the_score_is_compared_with_is_told() -> None:
    moons = db.fit("two-moons", n=300, steps=1, batch=32)
    assert "fresh points" in known_target(moons, original(moons.config).train).what


def test_without_held_out_items_there_is_no_diagnosis(fitted) -> None:
    model, real = fitted
    with pytest.raises(db.BadInput, match="held-out"):
        diagnose(model, RealItems(real.train, None))
    with pytest.raises(db.BadInput, match="80"):
        diagnose(model, real, n=10)
