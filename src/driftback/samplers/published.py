"""Published solvers under their names: each is one of this room's classes with its numbers, and what it claims.

`SAMPLERS` maps a name to a `Named`: how to make the sampler from a denoiser, and the order that it claims, on the
probability-flow ODE or, where it has noise, in law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftback.processes.sde import Reverse
from driftback.samplers.adaptive import Adaptive
from driftback.samplers.adaptive_sde import AdaptiveSDE
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.exponential import NOISE, log_ratio, plain_ratio
from driftback.samplers.frame import Sampler
from driftback.samplers.heun import Heun, euler
from driftback.samplers.langevin import Langevin, PredictorCorrector
from driftback.samplers.learned_variance import LearnedAncestral
from driftback.samplers.multistep import Multistep
from driftback.samplers.runge_kutta import RungeKutta
from driftback.samplers.singlestep import SingleStep
from driftback.samplers.stochastic_heun import StochasticHeun
from driftback.scores.denoiser import Denoiser


def dpm_solver(denoiser: Denoiser, order: int = 2, *, noise: float = 0.0) -> Multistep:
    """DPM-Solver++ in its multistep form, 2M and 3M; with noise 1 its SDE (Lu et al. 2022, arXiv 2211.01095)."""
    return Multistep(denoiser, order, log_ratio, noise=noise, halved=True, taper=noise == 0)


def unipc(denoiser: Denoiser, order: int = 3) -> Multistep:
    """UniPC with B(h) = e^h - 1 for D (Zhao et al. 2023, arXiv 2302.04867)."""
    return Multistep(denoiser, order, log_ratio, correct=True, halved=True, taper=True)


def deis(denoiser: Denoiser, order: int = 3) -> Multistep:
    """DEIS with polynomials through eps (Zhang and Chen 2023, arXiv 2204.13902), in log r as diffusers has it."""
    return Multistep(denoiser, order, log_ratio, NOISE, taper=True)


def lms(denoiser: Denoiser, order: int = 4) -> Multistep:
    """k-diffusion's linear multistep method, polynomials in r itself through eps, with a lower order at the end."""
    return Multistep(denoiser, order, plain_ratio, NOISE, taper=True)


def seeds(denoiser: Denoiser, order: int = 3) -> SingleStep:
    """SEEDS (Gonzalez et al. 2023, arXiv 2305.14267)."""
    return SingleStep(denoiser, order, NOISE, noise=1.0)


@dataclass(frozen=True)
class Named:
    """A sampler by name: how to `make` it, the `order` that it claims, and its source.

    Where it is `noisy` the order is the weak one on Gaussian data, otherwise the order as a solver of the ODE; None
    where noise also decides the steps.
    """

    make: Callable[[Denoiser], Sampler]
    order: int | None
    source: str
    evaluations: int = 1
    """Evaluations per step."""
    adaptive: bool = False
    noisy: bool = False
    grid: str = "karras"
    """The grid that it takes where none is asked for (`driftback.samplers.GRIDS`)."""


SAMPLERS: dict[str, Named] = {
    "euler": Named(euler, 1, "Euler 1768, in sigma / alpha: the same steps as ddim"),
    "ddim": Named(lambda d: Ancestral(d, eta=0.0), 1, "Song et al. 2021, arXiv 2010.02502, equation 12 with eta = 0"),
    "heun": Named(Heun, 2, "Karras et al. 2022, arXiv 2206.00364, algorithm 1", 2),
    "rk4": Named(RungeKutta, 4, "Kutta 1901", 4),
    "dpm-1": Named(lambda d: dpm_solver(d, 1), 1, "Lu et al. 2022, arXiv 2211.01095"),
    "dpm-2m": Named(lambda d: dpm_solver(d, 2), 2, "Lu et al. 2022, arXiv 2211.01095, algorithm 2"),
    "dpm-3m": Named(lambda d: dpm_solver(d, 3), 3, "Lu et al. 2022, arXiv 2211.01095"),
    "dpm-2s": Named(lambda d: SingleStep(d, 2), 2, "Lu et al. 2022, arXiv 2211.01095, algorithm 1", 2),
    "dpm-3s": Named(lambda d: SingleStep(d, 3), 3, "Lu et al. 2022, arXiv 2211.01095", 3),
    "unipc-2": Named(lambda d: unipc(d, 2), 3, "Zhao et al. 2023, arXiv 2302.04867"),
    "unipc-3": Named(lambda d: unipc(d, 3), 4, "Zhao et al. 2023, arXiv 2302.04867"),
    "deis-2": Named(lambda d: deis(d, 2), 2, "Zhang and Chen 2023, arXiv 2204.13902"),
    "deis-3": Named(lambda d: deis(d, 3), 3, "Zhang and Chen 2023, arXiv 2204.13902"),
    "lms": Named(lms, 4, "k-diffusion"),
    "adams-3": Named(
        lambda d: Multistep(d, 3, taper=True), 3, "exponential Adams-Bashforth; Hochbruck and Ostermann 2010"
    ),
    "adams-4": Named(
        lambda d: Multistep(d, 4, taper=True), 4, "exponential Adams-Bashforth; Hochbruck and Ostermann 2010"
    ),
    "adams-5": Named(
        lambda d: Multistep(d, 5, taper=True), 5, "exponential Adams-Bashforth; Hochbruck and Ostermann 2010"
    ),
    "adams-moulton-4": Named(
        lambda d: Multistep(d, 3, correct=True, taper=True), 4, "the same, each step mended by the next"
    ),
    "adaptive": Named(Adaptive, 3, "Bogacki and Shampine 1989", 3, adaptive=True),
    "euler-maruyama": Named(
        lambda d: EulerMaruyama(Reverse(d.process, d.score)), 1, "Maruyama 1955; Anderson 1982", noisy=True
    ),
    "stochastic-heun": Named(
        lambda d: StochasticHeun(Reverse(d.process, d.score)), 2, "Kloeden and Platen 1992, section 15.1", 2, noisy=True
    ),
    "ddpm": Named(Ancestral, 1, "Ho et al. 2020, arXiv 2006.11239", noisy=True),
    "churn": Named(
        lambda d: Heun(d, churn=40.0, churn_noise=1.003),
        1,
        "Karras et al. 2022, arXiv 2206.00364, algorithm 2",
        2,
        noisy=True,
    ),
    "sde-dpm-2m": Named(
        lambda d: dpm_solver(d, 2, noise=1.0), 2, "Lu et al. 2022, arXiv 2211.01095, equation 19", noisy=True
    ),
    "sde-adams-3": Named(
        lambda d: Multistep(d, 3, noise=1.0), 2, "the exact form in D of any order, with noise", noisy=True
    ),
    "seeds-2": Named(lambda d: seeds(d, 2), 2, "Gonzalez et al. 2023, arXiv 2305.14267", 2, noisy=True),
    "seeds-3": Named(lambda d: seeds(d, 3), 2, "Gonzalez et al. 2023, arXiv 2305.14267", 3, noisy=True),
    "adaptive-sde": Named(
        AdaptiveSDE, None, "Jolicoeur-Martineau et al. 2021, arXiv 2105.14080", 2, adaptive=True, noisy=True
    ),
    "predictor-corrector": Named(
        lambda d: PredictorCorrector(Ancestral(d), Langevin(d)), 1, "Song et al. 2021, arXiv 2011.13456", 2, noisy=True
    ),
}

LEARNED: dict[str, Named] = {
    "iddpm": Named(
        LearnedAncestral, None, "Nichol and Dhariwal 2021, arXiv 2102.09672, equation 15", noisy=True, grid="uniform"
    ),
}
"""Those that need more of a model than every denoiser has: here the variances that `--method iddpm` learns."""
