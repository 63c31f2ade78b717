"""k-diffusion's samplers, for benchmarks/solvers.py.

The package imports torchvision and more for its training code when it is imported; only its `sampling` module is
loaded here, with an empty module in the place of the one function file that `sampling` needs nothing else from.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from torch import Tensor

from workers.mixtures import Counted
from workers.scan import Solver, Walk
from workers.solvers import Bench, serve


def _sampling() -> ModuleType:
    """`k_diffusion.sampling`, and its `utils` with stubs for torchvision, without the package's __init__."""
    origin = find_spec("k_diffusion")
    assert origin is not None
    assert origin.origin is not None
    folder = Path(origin.origin).parent
    for name in ("torchvision", "torchvision.transforms"):
        stub = sys.modules.setdefault(name, ModuleType(name))
        stub.__spec__ = ModuleSpec(name, None)
    sys.modules["torchvision.transforms"].functional = None  # type: ignore[attr-defined]
    package = ModuleType("k_diffusion")
    package.__path__ = [str(folder)]
    sys.modules["k_diffusion"] = package
    spec = spec_from_file_location("k_diffusion.sampling", folder / "sampling.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


K = _sampling()


def walk(name: str, **options: object) -> Walk:
    """The sampler `sample_<name>` along given noise levels."""
    sample = getattr(K, f"sample_{name}")
    return lambda denoise, x, sigmas: sample(denoise, x, sigmas, disable=True, **options)


def fast(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver-fast on its own grid, uniform in the logarithm."""
    return K.sample_dpm_fast(denoise, x, float(sigmas[-1]), float(sigmas[0]), len(sigmas) - 1, disable=True)


def adaptive(order: int, absolute: float) -> Walk:
    """DPM-Solver's adaptive steps; the number of steps asked for turns the tolerance: 30 of them a power of ten."""

    def along(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
        relative = 10 ** (-min(len(sigmas) - 1, 150) / 30)
        ends = float(sigmas[-1]), float(sigmas[0])
        return K.sample_dpm_adaptive(
            denoise, x, *ends, order=order, rtol=relative, atol=absolute * relative, disable=True
        )

    return along


SOLVERS = [
    Solver("euler", walk("euler")),
    Solver("heun", walk("heun"), cost=2),
    Solver("dpm_2", walk("dpm_2"), cost=2),
    *(
        Solver(f"lms, order {order}", walk("lms", order=order), ends=("stop", "denoised", "zero"))
        for order in (2, 3, 4, 5, 6)
    ),
    Solver("dpmpp_2m", walk("dpmpp_2m")),
    Solver("dpmpp_2m_sde, eta 0, heun", walk("dpmpp_2m_sde", eta=0.0, solver_type="heun")),
    Solver("dpmpp_3m_sde, eta 0", walk("dpmpp_3m_sde", eta=0.0)),
    Solver("dpmpp_2s_ancestral, eta 0", walk("dpmpp_2s_ancestral", eta=0.0), cost=2),
    Solver("dpm_fast", fast, warps=("log",)),
    *(Solver(f"dpm_adaptive, order {order}", adaptive(order, 0.156), warps=("log",)) for order in (2, 3)),
]
NOISY = [
    Solver("euler_ancestral", walk("euler_ancestral"), ends=("zero",)),
    Solver("dpm_2_ancestral", walk("dpm_2_ancestral"), cost=2, ends=("zero",)),
    Solver("dpmpp_2s_ancestral", walk("dpmpp_2s_ancestral"), cost=2, ends=("zero",)),
    Solver("dpmpp_sde", walk("dpmpp_sde"), cost=2, ends=("zero",)),
    Solver("dpmpp_2m_sde, midpoint", walk("dpmpp_2m_sde"), ends=("zero",)),
    Solver("dpmpp_2m_sde, heun", walk("dpmpp_2m_sde", solver_type="heun"), ends=("zero",)),
    Solver("dpmpp_3m_sde", walk("dpmpp_3m_sde"), ends=("zero",)),
    *(Solver(f"heun, churn {churn}", walk("heun", s_churn=churn), cost=2, ends=("zero",)) for churn in (10, 40)),
]

if __name__ == "__main__":
    serve(Bench("k-diffusion", SOLVERS, NOISY))
