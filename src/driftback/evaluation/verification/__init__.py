"""Does it do what it claims: samplers, scores and processes against targets about which everything is known.

`verify_sampler`, `verify_score` and `verify_process` return a `Verification`, a row for each check. Every draw has a
fixed key, so a verdict does not change from run to run: at a given seed it is right or wrong once, and something right
fails at fewer than 1 in 1,000 seeds.
"""

from driftback.evaluation.verification.check import FAIL, PASS, SHOWN, Check, Verification
from driftback.evaluation.verification.process import verify_process
from driftback.evaluation.verification.sampler import verify_sampler
from driftback.evaluation.verification.score import verify_score
from driftback.evaluation.verification.targets import TARGET

__all__ = [
    "FAIL",
    "PASS",
    "SHOWN",
    "TARGET",
    "Check",
    "Verification",
    "verify_process",
    "verify_sampler",
    "verify_score",
]
