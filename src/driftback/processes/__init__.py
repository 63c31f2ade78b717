"""How order dissolves into noise: schedules, their diffusions, SDEs and their reverse, and DDPM's chain."""

from driftback.processes.ddpm import DiscreteChain, betas_of, linear_betas
from driftback.processes.diffusion import Diffusion
from driftback.processes.fokker_planck import Recording, axis, record
from driftback.processes.linear import LinearSDE
from driftback.processes.nonlinear import Isotropic, ItoReverse, ItoSDE, NonlinearSDE, divergence
from driftback.processes.protocols import Process
from driftback.processes.schedules import EDM, SCHEDULES, VE, VP, Cosine, LogSNR, Schedule, Straight, SubVP
from driftback.processes.sde import SDE, Reverse
from driftback.processes.solved_schedule import SolvedSchedule
from driftback.processes.terminal import (
    Mismatch,
    matched_gaussian,
    matched_to_cloud,
    mismatch_by_quadrature,
    mismatch_by_sampling,
    mismatch_of_cloud,
    mismatch_of_gaussian,
)

__all__ = [
    "EDM",
    "SCHEDULES",
    "SDE",
    "VE",
    "VP",
    "Cosine",
    "Diffusion",
    "DiscreteChain",
    "Isotropic",
    "ItoReverse",
    "ItoSDE",
    "LinearSDE",
    "LogSNR",
    "Mismatch",
    "NonlinearSDE",
    "Process",
    "Recording",
    "Reverse",
    "Schedule",
    "SolvedSchedule",
    "Straight",
    "SubVP",
    "axis",
    "betas_of",
    "divergence",
    "linear_betas",
    "matched_gaussian",
    "matched_to_cloud",
    "mismatch_by_quadrature",
    "mismatch_by_sampling",
    "mismatch_of_cloud",
    "mismatch_of_gaussian",
    "record",
]
