"""The exponential methods: exact weights, the papers' own formulas, orders, and exactness where they promise it."""

import functools
import math

import numpy as np
import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.randomness import Rng
from driftback.samplers import Ancestral, Multistep, SingleStep, euler, karras, last, log_snr
from driftback.samplers.exponential import DATA, NOISE, Bounded, Level, log_ratio, plain_ratio, weights
from driftback.samplers.levels import levels_of, step_noise
from driftback.samplers.published import deis, dpm_solver, lms, unipc
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.0, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.09, 0.03], [0.03, 0.08]], [[0.25, 0.0], [0.0, 0.16]]]),
)
CLOCKS = {"log": log_ratio, "plain": plain_ratio, "bounded": Bounded(0.4)}
FORMS = {"data": DATA, "noise": NOISE}
NOW, AFTER = Level(0.6, 0.8, 0.6), Level(0.4, 0.9, 0.3)


def exact(name, spread=1.0):
    return ExactDenoiser(Diffusion(SCHEDULES[name](), (2,), spread), TARGET)


def start(denoiser, n=20, low=0.02, steps=8):
    times = log_snr(denoiser.process, steps, low=low, high=20.0, end=low)
    return denoiser.process.simple_at(float(times[0])).sample(n, rng=0).double(), times


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_weights_integrate_polynomials_in_their_clock(clock, form, noise):
    """Against 200,000 midpoints: a cubic through four values, weighed by the form's own measure."""
    u, p = CLOCKS[clock], 1 + noise**2
    known = [3.0, 1.5, 1.0, NOW.ratio]
    ours = weights(FORMS[form], u, noise, NOW, AFTER, known)
    r = np.linspace(NOW.ratio, AFTER.ratio, 200_001)
    middle, step = (r[1:] + r[:-1]) / 2, np.diff(r)
    values = u(middle) ** 3 - 2 * u(middle) + 1
    if form == "data":
        truth = AFTER.alpha * AFTER.ratio**p * np.sum(values * -p * middle ** (-p - 1) * step)
    else:
        truth = AFTER.alpha * p * np.sum(values * step)
    at = u(np.array(known)) ** 3 - 2 * u(np.array(known)) + 1
    assert np.dot(ours, at) == pytest.approx(truth, rel=1e-8)
    # A planted index off by one is another number.
    assert np.dot(ours[1:] + ours[:1], at) != pytest.approx(truth, rel=1e-3)


PURE = Level(1.0, 0.0, 1.0)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("form", "now"), [("data", NOW), ("data", PURE), ("noise", NOW)])
def test_two_steps_are_one(form, now, noise):
    """What a step keeps, adds and integrates, from t to u and on to s, is what one step from t to s does."""
    form, middle = FORMS[form], Level(0.5, 0.85, 0.5)

    def integral(start, end, factor=1.0):
        ratios, measure = form.measure(start, end, noise)
        return float(measure @ Bounded(0.4)(factor * ratios) ** 2)

    def step(start, end):
        return form.carry(start, end, noise), form.deviation(start, end, noise) ** 2, integral(start, end)

    (first, shaken, part), (second, fresh, rest), whole = step(now, middle), step(middle, AFTER), step(now, AFTER)
    # From pure noise the values are read at powers of the nodes, which no polynomial is.
    near = 1e-9 if now is NOW else 1e-4
    assert whole == pytest.approx((first * second, second**2 * shaken + fresh, second * part + rest), rel=near)
    assert whole[2] != pytest.approx(second * integral(now, middle, 1.1) + rest, rel=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
def test_a_point_keeps_its_law(noise):
    """Data that are the point m: x_s has mean alpha_s m and deviation sigma_s, and its covariance with x_t is known."""
    carry, deviation = DATA.carry(NOW, AFTER, noise), DATA.deviation(NOW, AFTER, noise)
    assert carry * NOW.alpha + DATA.measure(NOW, AFTER, noise)[1].sum() == pytest.approx(AFTER.alpha, rel=1e-12)
    assert (carry * NOW.sigma) ** 2 + deviation**2 == pytest.approx(AFTER.sigma**2, rel=1e-12)
    falling = AFTER.ratio / NOW.ratio
    assert carry * NOW.sigma == pytest.approx(AFTER.sigma * falling ** (noise**2), rel=1e-12)
    if noise:
        assert (carry * NOW.sigma) ** 2 + deviation != pytest.approx(AFTER.sigma**2, rel=1e-3)


def test_orders_rise_from_one_and_fall_to_one_with_a_taper():
    denoiser = exact("edm")

    def orders(method, end):
        levels = levels_of(denoiser.process, log_snr(denoiser.process, 8, low=0.02, high=20.0, end=end))
        return [len(step.weights) for step in method.plan(levels)]

    assert orders(dpm_solver(denoiser, 3), 0.0) == [1, 2, 3, 3, 3, 3, 2, 1]
    assert orders(dpm_solver(denoiser, 3), 0.02) == [1, 2, 3, 3, 3, 3, 3, 3]
    assert orders(Multistep(denoiser, 3), 0.0) == [1, 2, 3, 3, 3, 3, 3, 3]


def test_dpm_solver_2m_is_the_papers():
    """Lu et al. 2022, arXiv 2211.01095, algorithm 2, in its letters."""
    denoiser = exact("vp")
    x, _ = start(denoiser)
    times = karras(denoiser.process, 8, low=0.02, high=20.0, end=0.02)
    process, ours = denoiser.process, last(dpm_solver(denoiser, 2)(x, times)).x
    lam = -process.ratio(times).log()
    sigma, alpha = process.sigma(times), process.alpha(times)

    def walk(ratio_of_steps):
        y, before = x, None
        for i in range(1, len(times)):
            h, now = lam[i] - lam[i - 1], denoiser.denoised(y, times[i - 1])
            r = None if before is None else ratio_of_steps((lam[i - 1] - lam[i - 2]) / h)
            mixed = now if before is None else (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
            y, before = sigma[i] / sigma[i - 1] * y - alpha[i] * torch.expm1(-h) * mixed, now
        return y

    assert torch.allclose(ours, walk(lambda r: r), atol=1e-12)
    # The two steps exchanged in their ratio: a fault that equal steps would hide.
    assert not torch.allclose(ours, walk(lambda r: 1 / r), atol=1e-3)


def test_the_sde_of_dpm_solver_is_the_papers():
    """Equation 19 of arXiv 2211.01095 and its second-order form, on the sampler's own noise."""
    denoiser = exact("vp")
    x, times = start(denoiser)
    process, ours = denoiser.process, last(dpm_solver(denoiser, 2, noise=1.0)(x, times, rng=3)).x
    lam, sigma, alpha = -process.ratio(times).log(), process.sigma(times), process.alpha(times)

    def walk(doubled):
        y, before = x, None
        noises = step_noise(levels_of(process, times), x, Rng(3))
        for i in range(1, len(times)):
            h, now = lam[i] - lam[i - 1], denoiser.denoised(y, times[i - 1])
            r = None if before is None else (lam[i - 1] - lam[i - 2]) / h
            mixed = now if before is None else (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
            shaken = sigma[i] * torch.sqrt(-torch.expm1(-doubled * h)) * next(noises)
            y, before = (
                sigma[i] / sigma[i - 1] * torch.exp(-h) * y - alpha[i] * torch.expm1(-2 * h) * mixed + shaken,
                now,
            )
        return y

    assert torch.allclose(ours, walk(2), atol=1e-12)
    assert not torch.allclose(ours, walk(1), atol=1e-3)


def right_hand_side(h, count):
    """b_k for D, by direct integration of its definition: int_0^1 e^((s - 1) h) h s^(k + 1) ds / (1 - e^-h)."""
    s = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    kernel = torch.exp((s - 1) * h) * h / -torch.expm1(-h)
    return torch.stack([torch.trapezoid(kernel * s ** (k + 1), s) for k in range(count)])


def test_unipc_is_the_papers():
    """Zhao et al. 2023, arXiv 2302.04867, algorithms 5 to 8 with p = 2 and B(h) = e^h - 1 for D."""
    denoiser = exact("vp")
    x, times = start(denoiser, steps=6)
    process = denoiser.process
    lam, sigma, alpha = -process.ratio(times).log(), process.sigma(times), process.alpha(times)
    y, said, out = x, [denoiser.denoised(x, times[0])], []
    for i in range(1, len(times)):
        h = lam[i] - lam[i - 1]
        base = sigma[i] / sigma[i - 1] * y - alpha[i] * torch.expm1(-h) * said[-1]
        big = torch.expm1(-h)
        slopes = [] if i == 1 else [((lam[i - 2] - lam[i - 1]) / h, said[-2] - said[-1])]
        predicted = base - alpha[i] * big * sum(0.5 * d / r for r, d in slopes)
        out.append(predicted)
        if i == len(times) - 1:
            break
        new = denoiser.denoised(predicted, times[i])
        slopes = [*slopes, (torch.ones(()), new - said[-1])]
        # R rho = b: rows r^k, right-hand sides k! phi_k+1 h / B(h).
        rows = torch.stack([torch.stack([r**k for r, _ in slopes]).double() for k in range(len(slopes))])
        right = right_hand_side(h, len(slopes))
        factors = torch.tensor([0.5]) if len(slopes) == 1 else torch.linalg.solve(rows, right)
        y = base - alpha[i] * big * sum(f * d / r for f, (r, d) in zip(factors, slopes, strict=True))
        said.append(new)
    ours = [frame.x for frame in unipc(denoiser, 2)(x, times)][1:]
    for one, paper in zip(ours, out, strict=True):
        assert torch.allclose(one, paper, atol=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_order_one_is_ddim_and_with_noise_the_ancestral_step(name):
    denoiser = exact(name)
    x, times = start(denoiser)
    assert torch.allclose(last(Multistep(denoiser, 1)(x, times)).x, last(euler(denoiser)(x, times)).x, atol=1e-10)
    noisy = last(Multistep(denoiser, 1, noise=1.0)(x, times, rng=2)).x
    assert torch.allclose(noisy, last(Ancestral(denoiser)(x, times, rng=2)).x, atol=1e-10)
    assert not torch.allclose(noisy, last(Multistep(denoiser, 1, noise=0.9)(x, times, rng=2)).x, atol=1e-3)


@pytest.mark.parametrize("name", ["vp", "edm", "straight"])
def test_the_bounded_clock_is_exact_for_a_gaussian_of_its_scale(name):
    """N(0, s^2 I): two values suffice for machine precision at any step; another scale errs."""
    s = 0.7
    target = Mixture(torch.ones(1), torch.zeros(1, 2), s**2 * torch.eye(2).expand(1, 2, 2))
    denoiser = ExactDenoiser(Diffusion(SCHEDULES[name](), (2,), s), target)
    times = log_snr(denoiser.process, 40, low=0.02, high=20.0, end=0.0)
    # One small step first, of order 1, far out where D hardly moves.
    x = denoiser.process.simple_at(float(times[0])).sample(50, rng=0).double()
    ratio = float(denoiser.process.ratio(times[0]))
    truth = x / float(denoiser.process.alpha(times[0])) * s / math.sqrt(s**2 + ratio**2)

    def off(method):
        return float((last(method(x, times)).x - truth).abs().max())

    first = off(Multistep(denoiser, 2, Bounded(s)))
    assert first < 1e-3
    assert off(Multistep(denoiser, 2, Bounded(2 * s))) > 5 * first
    assert off(Multistep(denoiser, 2, log_ratio)) > 5 * first


METHODS = {
    "adams 3": (lambda d: Multistep(d, 3), 3),
    "adams-moulton 3": (lambda d: Multistep(d, 2, correct=True), 3),
    "adams-moulton 4": (lambda d: Multistep(d, 3, correct=True), 4),
    "dpm-solver++ 2M": (lambda d: dpm_solver(d, 2), 2),
    "dpm-solver++ 3M": (lambda d: dpm_solver(d, 3), 3),
    "dpm-solver++ 2S": (lambda d: SingleStep(d, 2), 2),
    "dpm-solver++ 3S": (lambda d: SingleStep(d, 3), 3),
    "dpm-solver 2": (lambda d: SingleStep(d, 2, NOISE), 2),
    "dpm-solver 3": (lambda d: SingleStep(d, 3, NOISE), 3),
    "unipc 2": (lambda d: unipc(d, 2), 3),
    "deis 2": (lambda d: deis(d, 2), 2),
    "deis 3": (lambda d: deis(d, 3), 3),
    "lms 3": (lambda d: lms(d, 3), 3),
}


def end(method, name, n, high):
    process = exact(name).process
    x = process.simple_at(float(process.time_of(high))).sample(40, rng=0).double()
    return last(method(x, log_snr(process, n, low=0.05, high=high, end=0.05))).x


@functools.cache
def truth(name, high):
    return end(Multistep(exact(name), 5), name, 2000, high)


def order(make, name, steps=(60, 120, 240), high=20.0):
    """The slope of log error against log step, the truth being a method of order 5 with 2,000 steps."""
    ends = [end(make(exact(name)), name, n, high) for n in steps]
    errors = [float((x - truth(name, high)).norm(dim=1).mean()) for x in ends]
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("schedule", ["vp", "edm"])
@pytest.mark.parametrize("name", METHODS)
def test_orders(name, schedule):
    make, claimed = METHODS[name]
    assert order(make, schedule) == pytest.approx(claimed, abs=0.45)


def test_order_four_and_five_are_seen_with_more_steps():
    """Far out, at a ratio of 1,000, the first steps of low order cost nothing."""
    assert order(lambda d: Multistep(d, 4), "vp", (120, 240, 480), 1000.0) == pytest.approx(4, abs=0.45)
    assert order(lambda d: Multistep(d, 5), "vp", (120, 240, 480), 1000.0) > 4.3


def test_the_truth_of_these_orders_is_scipys():
    from scipy.integrate import solve_ivp

    denoiser = exact("vp")
    x, _ = start(denoiser, 5)
    times = log_snr(denoiser.process, 1500, low=0.05, high=20.0, end=0.05)

    def velocity(t, y):
        return denoiser.velocity(torch.from_numpy(y.reshape(-1, 2)), t).numpy().ravel()

    way = solve_ivp(velocity, (float(times[0]), float(times[-1])), x.ravel(), method="DOP853", rtol=1e-10, atol=1e-12)
    truth = torch.from_numpy(way.y[:, -1].reshape(-1, 2))
    assert torch.allclose(last(Multistep(denoiser, 5)(x, times)).x, truth, atol=2e-7)


def test_an_index_off_by_one_costs_the_order(monkeypatch):
    """The planted fault that a public project carried for years: the previous value's place is one step off."""
    from driftback.samplers import multistep

    true = multistep.weights

    def shifted(form, clock, noise, now, after, known, **kept):
        return true(form, clock, noise, now, after, [known[0] * 1.3, *known[1:]] if len(known) > 1 else known, **kept)

    monkeypatch.setattr(multistep, "weights", shifted)
    multistep._planned.cache_clear()
    try:
        assert order(lambda d: Multistep(d, 3, clock=log_ratio), "vp") < 1.7
    finally:
        multistep._planned.cache_clear()


@pytest.mark.parametrize("name", ["cosine", "straight"])
@pytest.mark.parametrize(
    "make",
    [
        lambda d: Multistep(d, 3),
        lambda d: Multistep(d, 3, log_ratio),
        lambda d: Multistep(d, 3, log_ratio, NOISE),
        lambda d: Multistep(d, 3, Bounded(0.4), NOISE),
        lambda d: SingleStep(d, 3),
        lambda d: SingleStep(d, 2, NOISE),
    ],
)
def test_singular_ends_are_met_exactly(name, make):
    """From alpha = 0 into sigma = 0 in equal steps: as many more steps, as much nearer, and finite with one step."""
    denoiser = exact(name)
    x = denoiser.process.simple.sample(50, rng=0).double()

    def end(method, steps):
        return last(method(x, torch.linspace(1, 0, steps + 1, dtype=torch.float64))).x

    truth = end(Multistep(denoiser, 4), 1500)
    one, few, many = (float((end(make(denoiser), n) - truth).square().mean().sqrt()) for n in (1, 30, 120))
    assert math.isfinite(one)
    assert many < 0.02
    assert many < few / 3


def test_few_steps_do_not_blow_up():
    """2 to 16 steps of high order: never worse than twice order 1, and inside the data's reach."""
    denoiser = exact("edm")
    x, _ = start(denoiser, 200)
    for steps in (2, 4, 8, 16):
        times = log_snr(denoiser.process, steps, low=0.01, high=20.0)
        for make in (lambda d: dpm_solver(d, 3), lambda d: unipc(d, 3), deis, lambda d: Multistep(d, 3)):
            assert float(last(make(denoiser)(x, times)).x.abs().max()) < 20


def test_evaluations_are_one_a_step_and_float32_stays():
    denoiser = exact("vp")
    x, times = start(denoiser)
    frame = last(Multistep(denoiser, 3, correct=True)(x.float(), times, rng=0))
    assert frame.evaluations == len(times) - 1
    assert frame.x.dtype == torch.float32


@pytest.mark.parametrize("wrong", [{"order": 0}, {"noise": -0.1}, {"noise": math.nan}])
@pytest.mark.parametrize("kind", [Multistep, SingleStep])
def test_what_is_no_method_is_refused(kind, wrong):
    with pytest.raises(BadInput, match="give order"):
        kind(exact("vp"), **wrong)


def test_single_steps_of_order_four_are_refused():
    with pytest.raises(BadInput, match="1 to 3"):
        SingleStep(exact("vp"), 4)


def test_noise_is_not_extrapolated_into_the_end():
    """With 256 steps the end lies sixteen steps' widths ahead: what differs by noise must not be followed so far."""
    denoiser = exact("vp")
    times = log_snr(denoiser.process, 256, low=0.01, high=20.0)
    law = denoiser.process.marginal(TARGET, float(times[0]))
    x = last(Multistep(denoiser, 3, noise=1.0)(law.sample(1000, rng=1), times, rng=2)).x
    truth = TARGET.sample(1000, rng=3)
    # Followed all the way: 15 and 35 % too wide. Four standard errors of a deviation of 1,000 points are 9 % at most.
    assert torch.allclose(x.std(0), truth.std(0), rtol=0.12)
