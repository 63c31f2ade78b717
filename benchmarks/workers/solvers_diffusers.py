"""diffusers' schedulers, for benchmarks/solvers.py.

Each scheduler is built as its documentation says and then given our noise levels in the place of those that it reads
off a thousand trained steps, in float64: in its favour, since its own cannot follow the ODE to its end. DDIM, PNDM
and DDPM are told that they were trained on just these levels. Some step in float32 whatever they are given
(Euler, EulerAncestral, EDMEuler, DPMSolverMultistep, FlowMatch): that is theirs.

Left out because they give the same points as another to three digits and take long: LMSDiscrete (k-diffusion's lms),
KDPM2Discrete (its dpm_2), DPMSolverMultistep 2M and 3M (EDMDPMSolverMultistep), DDIM, EDMEuler and FlowMatchEuler
(Euler).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor

from workers.mixtures import SPREAD, Counted
from workers.scan import Solver, Walk
from workers.solvers import Bench, serve

Levels = Callable[[Any, Tensor], Iterable[tuple[Any, float]]]
"""Gives the scheduler its noise levels; then the timestep and the noise level of each call of the model."""


@dataclass(frozen=True)
class Space:
    """What a scheduler takes for a sample, x times `scale`, and for the model's output."""

    scale: Callable[[float], float]
    output: Callable[[Tensor, Tensor, float], Tensor]
    """output(x, D, sigma), with x in the space where noise is added to data."""


def _edm(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    total = sigma**2 + SPREAD**2
    return (denoised - SPREAD**2 / total * x) / (sigma * SPREAD / math.sqrt(total))


def _vp(sigma: float) -> float:
    return 1 / math.sqrt(1 + sigma**2)


VE = Space(lambda s: 1.0, lambda x, d, s: (x - d) / s)
VP = Space(_vp, lambda x, d, s: d)
NOISE = Space(_vp, lambda x, d, s: (x - d) / s)
VELOCITY = Space(_vp, lambda x, d, s: ((x - d) / s - s * d) * _vp(s))
EDM = Space(lambda s: 1.0, _edm)
FLOW = Space(lambda s: 1 / (1 + s), lambda x, d, s: (x - d) / s - d)


def _plain(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas = sigmas
    return zip(scheduler.timesteps, sigmas.tolist(), strict=False)


def _flow(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    calls = list(_plain(scheduler, sigmas))
    scheduler.sigmas = sigmas / (1 + sigmas)
    return calls


def _twice(scheduler: Any, sigmas: Tensor, second: Tensor) -> Iterable[tuple[Any, float]]:
    """Two calls a step, the second at `second`; a step to no noise has only the first."""
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2)])
    levels = [level for pair in zip(sigmas[:-1].tolist(), second.tolist(), strict=True) for level in pair]
    return [(torch.tensor(float(k)), level) for k, level in enumerate(levels) if level > 0]


def _heun(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    return _twice(scheduler, sigmas, sigmas[1:])


def _flow_heun(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    calls = _heun(scheduler, sigmas)
    scheduler.sigmas = scheduler.sigmas / (1 + scheduler.sigmas)
    return calls


def _middle(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    between = (sigmas[:-1] * sigmas[1:]).sqrt()
    calls = _twice(scheduler, sigmas, between)
    scheduler.sigmas_interpol = torch.cat([between[:1], between.repeat_interleave(2)])
    return calls


def _cosines(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    calls = list(_plain(scheduler, sigmas))
    scheduler.alphas = 1 / (1 + sigmas**2).sqrt()
    scheduler.betas = sigmas * scheduler.alphas
    return calls


def _trained(scheduler: Any, sigmas: Tensor) -> Iterable[tuple[Any, float]]:
    steps = len(sigmas) - 1
    scheduler.register_to_config(num_train_timesteps=steps)
    scheduler.set_timesteps(steps)
    shares = 1 / (1 + sigmas**2)
    scheduler.alphas_cumprod = shares[:-1].flip(0)
    scheduler.one = scheduler.final_alpha_cumprod = shares[-1]
    return [(t, float(sigmas[steps - 1 - int(t)])) for t in scheduler.timesteps]


def walk(
    name: str,
    space: Space,
    levels: Levels = _plain,
    step: dict[str, Any] | None = None,
    final: bool = False,
    **options: Any,
) -> Walk:
    """The scheduler `<name>Scheduler` along given noise levels; `final` tells it whether the last of them is zero."""
    scheduler_class = getattr(diffusers, f"{name}Scheduler")

    def along(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
        end = {"final_sigmas_type": "zero" if sigmas[-1] == 0 else "sigma_min"} if final else {}
        scheduler = scheduler_class(**options, **end)
        calls = levels(scheduler, sigmas)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        scheduler.is_scale_input_called = True
        sample = x * space.scale(float(sigmas[0]))
        for t, sigma in calls:
            x = sample / space.scale(sigma)
            output = space.output(x, denoise(x, sigma), sigma)
            sample = scheduler.step(output, t, sample, return_dict=False, **(step or {}))[0]
        return sample / space.scale(float(sigmas[-1]))

    return along


def dpm(name: str, order: int, space: Space = VP, **options: Any) -> Walk:
    prediction = {} if space is EDM else {"prediction_type": "sample"}
    return walk(name, space, final=True, solver_order=order, **prediction, **options)


def unipc(order: int, kind: str, *, data: bool) -> Walk:
    return dpm("UniPCMultistep", order, solver_type=kind, predict_x0=data)


def sa(predictor: int, corrector: int, tau: float) -> Walk:
    orders = {"predictor_order": predictor, "corrector_order": corrector}
    return walk("SASolver", VP, prediction_type="sample", tau_func=lambda t: tau, **orders)


DPM1 = "dpmsolver"
ZERO = ("stop", "zero")
ALL = ("stop", "denoised", "zero")
SOLVERS = [
    Solver("EulerDiscrete", walk("EulerDiscrete", VE)),
    Solver("PNDM", walk("PNDM", NOISE, _trained, skip_prk_steps=True)),
    Solver("IPNDM", walk("IPNDM", VELOCITY, _cosines), ends=ALL),
    Solver("HeunDiscrete", walk("HeunDiscrete", VE, _heun), cost=2),
    Solver("FlowMatchHeunDiscrete", walk("FlowMatchHeunDiscrete", FLOW, _flow_heun), cost=2),
    Solver("DPMSolverMultistep, 2M, heun", dpm("DPMSolverMultistep", 2, solver_type="heun"), ends=ZERO),
    *(
        Solver(f"DPMSolverMultistep, dpmsolver, order {order}", dpm("DPMSolverMultistep", order, algorithm_type=DPM1))
        for order in (2, 3)
    ),
    *(Solver(f"DPMSolverSinglestep, order {order}", dpm("DPMSolverSinglestep", order), ends=ZERO) for order in (2, 3)),
    *(
        Solver(f"EDMDPMSolverMultistep, order {order}", dpm("EDMDPMSolverMultistep", order, EDM), ends=ZERO)
        for order in (2, 3)
    ),
    *(
        Solver(f"DEISMultistep, order {order}", walk("DEISMultistep", VP, solver_order=order, prediction_type="sample"))
        for order in (2, 3)
    ),
    *(Solver(f"UniPCMultistep, order {order}, bh1", unipc(order, "bh1", data=True)) for order in (2, 3)),
    *(Solver(f"UniPCMultistep, order {order}, bh2", unipc(order, "bh2", data=True), ends=ALL) for order in (2, 3, 4)),
    *(Solver(f"UniPCMultistep, order {order}, bh2, noise", unipc(order, "bh2", data=False)) for order in (2, 3, 4)),
    Solver("SASolver, orders 3 and 3, tau 0", sa(3, 3, 0.0)),
]
NOISY = [
    Solver("DDPM", walk("DDPM", NOISE, _trained, clip_sample=False), ends=("zero",)),
    Solver("EulerAncestralDiscrete", walk("EulerAncestralDiscrete", VE), ends=("zero",)),
    *(
        Solver(
            f"DPMSolverMultistep, sde-dpmsolver++, order {order}",
            dpm("DPMSolverMultistep", order, algorithm_type="sde-dpmsolver++"),
            ends=("zero",),
        )
        for order in (1, 2, 3)
    ),
    Solver(
        "EDMDPMSolverMultistep, sde-dpmsolver++",
        dpm("EDMDPMSolverMultistep", 2, EDM, algorithm_type="sde-dpmsolver++"),
        ends=("zero",),
    ),
    Solver("DPMSolverSDE", walk("DPMSolverSDE", VE, _middle), cost=2, ends=("zero",)),
    *(Solver(f"EDMEuler, churn {churn}", walk("EDMEuler", EDM, step={"s_churn": churn})) for churn in (10.0, 40.0)),
    Solver("SASolver, orders 2 and 2, tau 1", sa(2, 2, 1.0)),
    Solver("SASolver, orders 3 and 3, tau 1", sa(3, 3, 1.0)),
]

if __name__ == "__main__":
    serve(Bench("diffusers", SOLVERS, NOISY))
