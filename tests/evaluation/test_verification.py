"""What verifies is verified: right ones pass, each planted fault fails at the check that is meant for it."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.evaluation.verification import FAIL, TARGET, verify_process, verify_sampler, verify_score
from driftback.evaluation.verification.check import judged, near, shown
from driftback.evaluation.verification.faulty import FAULTY
from driftback.evaluation.verification.known import Growing, turning
from driftback.evaluation.verification.order import Convergence, convergence, grid, standard
from driftback.evaluation.verification.targets import ends, modes, true_score
from driftback.evaluation.verification.weak import NORMAL, NotLinear, law
from driftback.processes import EDM, SCHEDULES, VE, VP, Diffusion, matched_gaussian, mismatch_of_gaussian
from driftback.randomness import as_rng
from driftback.recipes.verify import PREFIX, faulty, subjects
from driftback.samplers import Frame, Heun, last, published
from driftback.samplers.levels import levels_of
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

QUICK = {
    "wrong-index",
    "strided",
    "unlowered",
    "stretched-score",
    "turned-score",
    "wrong-clock",
    "forgetful-bridge",
    "ordinary-calculus",
    "shared-noise",
    "coin-noise",
}
SHORT = {"linear", "nonlinear", "euler", "dpm-2m", "unipc-3", "ddpm", "straight", "exact", "recorded"}


def marked(names, quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(FAULTY, QUICK))
def test_every_faulty_one_is_rejected_for_its_fault(name) -> None:
    found = faulty()[PREFIX + name].run(0)
    assert not found.passed
    assert FAULTY[name].caught_by in found.failed
    assert FAULTY[name].caught_by in found.conclusion


def test_there_are_faulty_ones_of_every_kind() -> None:
    assert len(FAULTY) >= 8
    assert {one.kind for one in FAULTY.values()} == {"sampler", "score", "process"}


# One key decides a verdict once; of at most 60 statistics one beyond 4.5 errors is 1 in 2,000 by chance.
@pytest.mark.parametrize("name", marked(subjects(), SHORT))
def test_every_one_of_ours_passes(name) -> None:
    found = subjects()[name].run(0)
    assert found.failed == ()
    assert found.subject == name


def test_all_of_ours_have_a_name_to_verify() -> None:
    assert {*published.SAMPLERS, *SCHEDULES, "exact", "recorded", "grid", "linear", "nonlinear"} == set(subjects())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_verdict_does_not_hang_on_the_seed(seed) -> None:
    assert verify_sampler(Heun, 2, rng=seed).passed
    assert not faulty()["faulty:stretched-score"].run(seed).passed


def test_an_order_is_the_slope_of_the_errors() -> None:
    cubic = Convergence((10, 20, 40), (8.0, 1.0, 0.125), (10, 20, 40))
    assert cubic.order()[0] == pytest.approx(3)
    assert cubic.order()[1] == pytest.approx(0, abs=1e-6)
    assert cubic.evaluations_to(1.0) == pytest.approx(20)
    assert cubic.evaluations_to(2 * math.sqrt(2)) == pytest.approx(20 / math.sqrt(2))
    assert cubic.evaluations_to(0.1) is None
    assert math.isnan(Convergence((10, 20), (math.nan, math.nan), (10, 20)).order()[0])


def test_evaluations_are_counted_and_not_believed() -> None:
    assert convergence(Heun, (4, 8)).evaluations == (8, 16)


def test_a_claim_that_is_too_high_fails() -> None:
    found = verify_sampler(Heun, 3)
    assert found.failed == ("observed order",)


def test_a_reversal_without_the_divergence_is_rejected(monkeypatch) -> None:
    """Anderson's full formula against the one that holds for noise that is the same everywhere."""
    monkeypatch.setattr("driftback.processes.nonlinear.divergence", lambda sde, x, t: torch.zeros_like(x))
    found = verify_process(Growing(), score=Growing().score)
    assert any(name.endswith("of reversed points at t = 0.3") for name in found.failed)
    assert not any("simulated" in name for name in found.failed)


@pytest.mark.slow
def test_an_end_that_still_knows_the_data_is_rejected() -> None:
    assert verify_process(VE(0.01, 1.0)).failed == ("terminal mismatch in nats",)
    turned, score = turning()
    (found,) = (c for c in verify_process(turned, score=score).checks if c.name.startswith("terminal mismatch"))
    # The moments of the noised data and of the simple law are known, and so is the KL of two normal laws.
    law = matched_gaussian(turned.marginal(TARGET, 1.0))
    exact = mismatch_of_gaussian(law, turned.simple).nats
    assert found.value == pytest.approx(exact, rel=0.1)


def test_a_process_of_which_nothing_is_stated_is_refused() -> None:
    class Silent:
        drift, dispersion = Growing.drift, Growing.dispersion

    with pytest.raises(BadInput, match="add forward"):
        verify_process(Silent())


def test_the_law_of_one_step_is_the_textbooks() -> None:
    """DDPM's step from t to s: x_s = a x_t + b D + sqrt(v) z, by hand."""
    process, times = standard().process, torch.tensor([0.6, 0.5], dtype=torch.float64)
    mean, covariance, evaluations = law(published.SAMPLERS["ddpm"].make, times)
    (alpha, alpha_s), (sigma, sigma_s) = process.alpha(times), process.sigma(times)
    m, c = NORMAL.means[0], NORMAL.covariances[0]
    eye = torch.eye(2, dtype=torch.float64)
    now = alpha**2 * c + sigma**2 * eye
    gain = alpha * c @ torch.linalg.inv(now)  # D = m + gain (x - alpha m)
    a = alpha / alpha_s * sigma_s**2 / sigma**2
    v = sigma**2 - (alpha / alpha_s) ** 2 * sigma_s**2
    b = alpha_s * v / sigma**2
    total = a * eye + b * gain
    assert torch.allclose(mean, a * alpha * m + b * m, atol=1e-12)
    assert torch.allclose(covariance, total @ now @ total.T + v * sigma_s**2 / sigma**2 * eye, atol=1e-12)
    assert evaluations == 1


@pytest.mark.parametrize("name", ["seeds-2", "sde-dpm-2m", "euler-maruyama"])
def test_the_law_that_is_worked_out_is_the_law_that_is_drawn(name) -> None:
    """Of 5 moments of 40,000 draws each within 4.5 standard errors: a false alarm in 30,000."""
    make, times = published.SAMPLERS[name].make, grid(12)
    mean, covariance, _ = law(make, times)
    denoiser = ExactDenoiser(standard().process, NORMAL)
    x = denoiser.process.marginal(NORMAL, float(times[0])).sample(40_000, rng=1)
    x = last(make(denoiser)(x, times, rng=2)).x

    def agrees(mean, covariance) -> bool:
        off = x - mean
        products = torch.stack([off[:, 0] ** 2, off[:, 0] * off[:, 1], off[:, 1] ** 2], 1)
        found = torch.cat([off, products - covariance[[0, 0, 1], [0, 1, 1]]], 1)
        return bool((found.mean(0).abs() < 4.5 * found.std(0) / len(x) ** 0.5).all())

    assert agrees(mean, covariance)
    assert not agrees(mean, 1.1 * covariance)


def test_noise_that_is_not_linear_has_no_law() -> None:
    def make(denoiser):
        def way(x, times, *, rng=None):
            yield Frame(float(times[0]), x)
            yield Frame(float(times[1]), x + as_rng(rng).normal(x.shape, dtype=x.dtype) ** 2)

        return way

    with pytest.raises(NotLinear):
        law(make, torch.tensor([0.6, 0.5], dtype=torch.float64))


def test_a_weak_order_that_is_too_high_fails() -> None:
    assert verify_sampler(published.SAMPLERS["ddpm"].make, 2).failed == ("weak order",)


def test_the_score_is_the_gaussians_and_the_end_is_the_flows() -> None:
    x = torch.tensor([[0.3, -0.2], [1.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(true_score(TARGET, x, 0.6, 0.8), standard().mixture.noised(0.6, 0.8).score(x), atol=1e-10)
    # Of one Gaussian the flow's end is a formula.
    one = Mixture(torch.ones(1), torch.zeros(1, 2), 0.49 * torch.eye(2)[None])
    process = Diffusion(VP(), (2,))
    alpha = float(process.alpha(process.time_of(20.0))), float(process.alpha(process.time_of(0.05)))
    exact = x / alpha[0] * math.sqrt((0.49 + 0.05**2) / (0.49 + 20.0**2)) * alpha[1]
    assert torch.allclose(ends(process, x, 20.0, 0.05, one), exact, atol=1e-9)


def test_modes_are_counted_without_bias() -> None:
    """Of 10 statistics of exact draws each lies within 4.5 standard errors (one in 15,000 runs does not)."""
    x = TARGET.sample(20_000, rng=5)
    assert all(check.verdict != FAIL for check in modes(x, 0.0))
    assert any(check.verdict == FAIL for check in modes(1.05 * x, 0.0))
    other = Mixture(torch.tensor([0.33, 0.67]), TARGET.means, TARGET.covariances).sample(20_000, rng=5)
    assert any(check.verdict == FAIL and check.name.endswith("weight") for check in modes(other, 0.0))


def test_a_number_that_is_none_fails() -> None:
    assert judged("x", math.nan, high=1.0).verdict == FAIL
    assert judged("x", 1.0, low=1.0, high=1.0).verdict == "pass"
    assert near("x", 1.5, 1.0, 0.1, 0.0, 10).verdict == FAIL
    assert shown("x", None).verdict == "shown"


@dataclass(frozen=True)
class Bad:
    """A sampler that keeps the contract but in `way`."""

    way: str

    def __call__(self, x, times, *, rng=None):
        for k, t in enumerate(times.tolist()):
            if self.way == "short" and k == 3:
                return
            shape = x[:, :1] if self.way == "shape" and k else x
            yield Frame(
                t + (0.1 if self.way == "clock" and k == 2 else 0.0), shape * (math.nan if self.way == "nan" else 1)
            )


@pytest.mark.parametrize(
    ("way", "said"),
    [("short", "3 frames for 9 times"), ("shape", "came back as"), ("clock", "says t"), ("nan", "finite")],
)
def test_what_is_no_sampler_is_refused(way, said) -> None:
    with pytest.raises(BadInput, match=said):
        verify_sampler(lambda denoiser: Bad(way))


def test_what_is_no_score_or_process_is_refused() -> None:
    from driftback.recipes.theirs import Theirs

    process = Diffusion(VP(), (2,))
    with pytest.raises(BadInput, match="shape"):
        verify_score(Theirs(process, lambda x, alpha, sigma: x[:, :1], False))
    with pytest.raises(BadInput, match="not finite"):
        verify_score(Theirs(process, lambda x, alpha, sigma: x / 0, False))
    with pytest.raises(BadInput, match="forward and bridge"):
        verify_process(object())


@dataclass(frozen=True)
class Spoiled:
    """DDPM with `noise` times the fresh variance, and a last step that is `last`: right, forgotten, or of sigma_t."""

    denoiser: Denoiser
    noise: float = 1.0
    last: str = "right"

    def __call__(self, x, times, *, rng=None):
        levels, rng = levels_of(self.denoiser.process, times), as_rng(rng)
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            rho = (after.ratio / now.ratio) ** 2 if now.alpha else 0.0
            kept = after.sigma * rho**0.5 / now.sigma
            ahead = kept * x + (after.alpha - kept * now.alpha) * self.denoiser.denoised(x, now.t)
            ahead = ahead + after.sigma * ((1 - rho) * self.noise) ** 0.5 * rng.child("noise", k).normal(
                x.shape, dtype=x.dtype
            )
            if after.sigma == 0 and self.last != "right":
                noise = x - now.alpha * self.denoiser.denoised(x, now.t)
                ahead = x if self.last == "forgotten" else ahead + noise
            x = ahead
            yield Frame(after.t, x, k + 1)


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({}, None),
        ({"noise": 1.1}, "error left from 120 to 240 steps"),
        ({"noise": 0.9}, "error left from 120 to 240 steps"),
        ({"last": "forgotten"}, "distance from a point"),
        ({"last": "sigma_t"}, "distance from a point"),
    ],
)
def test_a_tenth_more_noise_and_a_wrong_last_step_are_seen(options, check) -> None:
    found = verify_sampler(lambda d: Spoiled(d, **options))
    assert found.passed == (check is None), found.failed
    assert check is None or any(name.startswith(check) for name in found.failed)


def test_a_score_that_looks_at_the_batch_is_rejected() -> None:
    class Mixing(Denoiser):
        process = standard().process

        def denoised(self, x, t):
            return standard().denoised(x, t) + 1e-6 * x.mean(0)

    assert verify_score(Mixing()).failed == ("difference in another batch",)


def test_a_process_outside_all_noise_levels_is_refused() -> None:
    class Zero(Denoiser):
        process = Diffusion(EDM(0.01), (2,))

        def denoised(self, x, t):
            return torch.zeros_like(x)

    with pytest.raises(BadInput, match="none of the noise levels"):
        verify_score(Zero())
