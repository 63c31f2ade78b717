"""No tensor meets one of another device: everything that runs on a GPU is run on a pretended one.

The pretended device computes on the CPU, calls itself `meta`, and refuses, as a GPU does, whatever mixes it with
tensors of one or more dimensions that were left on the CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import driftback as db
from driftback.data.buckets import Buckets
from driftback.data.dataset import Dataset
from driftback.distributions.cloud import Cloud
from driftback.distributions.gaussian import Gaussian
from driftback.distributions.mixture import Mixture
from driftback.networks.presets import NetworkSpec, build, cost
from driftback.processes.ddpm import DiscreteChain, linear_betas
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, SCHEDULES
from driftback.processes.sde import Reverse
from driftback.randomness import Rng
from driftback.recipes import job as jobs
from driftback.recipes import model as models
from driftback.recipes import prepare as preparing
from driftback.recipes.methods import METHODS
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.frame import last
from driftback.samplers.grids import uniform
from driftback.samplers.heun import Heun
from driftback.samplers.langevin import Langevin, PredictorCorrector
from driftback.scores.exact import ExactDenoiser
from driftback.scores.guided import GuidedDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.scores.recorded import RecordedDenoiser
from driftback.training import loop, optimisers
from driftback.training.muon import Muon

GPU = torch.device("meta")


class Pretended(Tensor):
    """A tensor on the pretended device: `held` is what it holds."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        return Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with PretendedDevice():
            return operator(*args, **(kwargs or {}))


class PretendedDevice(TorchDispatchMode):
    """While it lasts, `meta` is a device like a GPU, and what mixes it with the CPU raises RuntimeError."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        here = any(isinstance(x, Pretended) for x in given)
        asked = kwargs.get("device")
        moves = operator in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        indexes = operator in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
        if here and not moves:
            # A GPU takes numbers, () tensors, from the CPU, and indices of its own tensors too.
            strangers = [x for x in (given[:1] if indexes else given) if not isinstance(x, Pretended) and x.ndim]
            if strangers:
                raise RuntimeError(f"{operator} mixes devices: {tuple(strangers[0].shape)} is on the CPU")
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        out_on_gpu = here if asked is None else torch.device(asked) == GPU
        if operator is torch.ops.aten.copy_.default:
            out_on_gpu = isinstance(args[0], Pretended)
        plain = tree_map(lambda x: x.held if isinstance(x, Pretended) else x, (args, kwargs))
        out = operator(*plain[0], **plain[1])
        if operator is torch.ops.aten._local_scalar_dense.default:
            return out
        if operator._schema.is_mutable and given and out is plain[0][0]:
            return args[0]
        return tree_map(lambda x: Pretended(x) if isinstance(x, Tensor) else x, out) if out_on_gpu else out


class PretendedLiterals(TorchFunctionMode):
    """Numbers made into tensors on the pretended device: torch's own way would make empty `meta` tensors of them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == GPU:
            del kwargs["device"]
            return function(*args, **kwargs).to(GPU)
        return function(*args, **kwargs)


class Generator(torch.Generator):
    device = GPU  # type: ignore[assignment]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a device that this machine seems to have."""
    usual, adam = Rng.torch_generator, torch.optim.AdamW

    def generator(self: Rng, device: torch.device | str = "cpu") -> torch.Generator:
        if torch.device(device) != GPU:
            return usual(self, device)
        made = Generator()
        made.set_state(usual(self).get_state())
        return made

    monkeypatch.setattr(Rng, "torch_generator", generator)
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **options: adam(groups, **options))
    monkeypatch.setattr(optimisers, "Muon", lambda groups, fused, **options: Muon(groups, **options))
    for module in (models, preparing):
        monkeypatch.setattr(module, "device_named", lambda name=None: name or "cpu")
    # What is pretended is slow: few items at once, and no previews, which are draws like others.
    monkeypatch.setattr(models.Model, "block", 8)
    monkeypatch.setattr(jobs.Job, "_preview", lambda self, step: None)
    with PretendedLiterals(), PretendedDevice(), warnings.catch_warnings():
        # torch, which knows `meta` as a device without values, warns of what it believes to have no effect.
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter.*")
        yield str(GPU)


def there(x: Tensor) -> Tensor:
    return x.to(GPU)


def test_the_pretended_device_refuses_the_cpu(gpu) -> None:
    x = there(torch.ones(2, 3))
    assert x.device == GPU
    assert float((x * 2 + torch.tensor(1.0)).sum()) == 18
    assert (x.cpu() + torch.ones(2, 3)).sum() == 12
    with pytest.raises(RuntimeError, match="mixes devices"):
        x + torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="mixes devices"):
        torch.ones(3) + x


def test_cost_follows_the_network() -> None:
    """On the real `meta`, which holds no values: a network there meets no zeros from the CPU."""
    network = build(NetworkSpec(kind="mlp", widths=(16,), depth=1), 2, 2, (2,), 0)
    here = cost(network, 2, (2,), cores=1)
    assert cost(network.to(GPU), 2, (2,), cores=1) == here


def data(kind: str) -> tuple[np.ndarray, list[int] | None]:
    random = np.random.Generator(np.random.Philox(3))
    if kind == "points":
        return random.standard_normal((60, 2)), None
    return random.integers(0, 5, (60, 6, 6)), [0, 1, 2] * 20


def same(here: Any, there: Any) -> None:
    np.testing.assert_allclose(np.asarray(here, float), np.asarray(there, float), rtol=1e-3, atol=1e-3)


BY_LEVELS = {"levels", "spikes"}
SMALL = NetworkSpec(kind="mlp", widths=(16,), depth=1)
OTHERS = [name for name in METHODS if name not in BY_LEVELS | {"edm"} and not METHODS[name].remembers]


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("points", "edm"),
        ("points", "levels"),
        pytest.param("pictures", "levels", marks=pytest.mark.slow),
        *[pytest.param("points", name, marks=pytest.mark.slow) for name in OTHERS],
        pytest.param("pictures", "spikes", marks=pytest.mark.slow),
        pytest.param("pictures", "edm", marks=pytest.mark.slow),
    ],
)
def test_fitting_drawing_and_scoring_stay_on_the_device(gpu, kind, method, run) -> None:
    x, y = data(kind)
    network = "tiny" if kind == "pictures" else SMALL
    job = preparing.prepare(x, y, out=run, steps=3, batch=16, method=method, device=gpu, network=network)
    assert {p.device for p in job.state.denoiser.network.parameters()} == {GPU}
    for _ in job.run():
        pass
    model, summary = job.finish()
    assert model.device == GPU
    resumed = preparing.prepare(x, y, out=run, resume=True, device=gpu)
    assert resumed.state.step == 3
    assert {t.device for t in resumed.state.average.network.state_dict().values()} == {GPU}
    again = db.load(run, device=gpu)
    cpu = db.load(run, device="cpu")
    options = {"n": 4, "steps": 2, **({} if y is None else {"label": 1, "guidance": 0.5})}
    same(cpu.sample(**options), again.sample(**options))
    items, labels = x[:4], None if y is None else y[:4]
    same(cpu.log_likelihood(items, labels).nats, again.log_likelihood(items, labels).nats)
    assert (summary.bits_per_dim is None) == (kind == "points" or method not in BY_LEVELS)


@pytest.mark.parametrize("captioned", [False, True])
def test_a_mixture_is_fitted_for_the_device(gpu, captioned: bool, run) -> None:
    """Method `corrected`, the default for many pictures, with classes and with captions."""
    x, y = data("pictures")
    told = {"captions": [f"{k} spots" for k in y]} if captioned else {"y": y}
    job = preparing.prepare(x, **told, out=run, steps=2, batch=8, method="corrected", device=gpu, network="tiny")
    assert job.config.closed_form is not None
    assert {t.device for t in job.state.denoiser.network.state_dict().values()} == {GPU}
    for _ in job.run():
        pass
    job.finish()
    options = {"n": 4, "steps": 2} | ({"prompt": "2 spots"} if captioned else {"label": 2})
    same(db.load(run, device="cpu").sample(**options), db.load(run, device=gpu).sample(**options))


@pytest.mark.slow
def test_pictures_in_buckets_stay_on_the_device(gpu, run) -> None:
    buckets, bucket = Buckets(shapes=((4, 8), (8, 4))), np.arange(60) % 2
    x = buckets.painted(np.random.default_rng(0).integers(1, 5, (60, 8, 8)).astype(np.uint8), bucket)
    photos = Dataset(x, kind="pictures", buckets=buckets, bucket=bucket)
    job = preparing.prepare(photos, out=run, steps=2, batch=8, network="tiny", augment="flip", device=gpu)
    for _ in job.run():
        pass
    assert job.finish()[1].bits_per_dim is not None
    here, there = (db.load(run, device=device) for device in ("cpu", gpu))
    options = {"n": 4, "steps": 2, "shape": (4, 8), "autoguidance": 0.5}
    same(here.sample(**options), there.sample(**options))
    same(here.log_likelihood(x[:4]).nats, there.log_likelihood(x[:4]).nats)


def test_an_augmented_transformer_stays_on_the_device(gpu) -> None:
    x, y = data("pictures")
    options = {"steps": 2, "batch": 8, "network": "dit-tiny", "augment": "flip,shift", "held_out": 0.0}
    losses = []
    for device in (gpu, "cpu"):
        job = preparing.prepare(x, y, device=device, **options)
        losses.append([step.loss for step in job.run()])
        assert {t.device for t in job.state.average.network.state_dict().values()} == {torch.device(device)}
    assert len(losses[0]) == len(losses[1]) == 2


@pytest.mark.parametrize(
    ("kind", "method", "options"),
    [
        ("points", "iddpm", {"times": "importance", "snapshots": True}),
        pytest.param("pictures", "vdm", {"weighting": "min-snr"}, marks=pytest.mark.slow),
    ],
)
def test_learned_times_weights_and_averages_stay_on_the_device(gpu, kind, method, options, run) -> None:
    x, y = data(kind)
    job = preparing.prepare(x, y, out=run, steps=3, batch=16, method=method, device=gpu, **options)
    assert {value.device for value in job.state.averages.tensors().values()} == {GPU}
    for _ in job.run():
        pass
    model, _ = job.finish()
    preparing.prepare(x, y, out=run, resume=True, device=gpu)
    again = db.load(run, device=gpu, ema=0.1)
    label = {} if y is None else {"label": 1}
    same(db.load(run, device="cpu", ema=0.1).sample(4, steps=2, **label), again.sample(4, steps=2, **label))
    if method == "iddpm":
        same(db.load(run, device="cpu").sample(4, steps=2, sampler="iddpm"), model.sample(4, steps=2, sampler="iddpm"))
    else:
        same(db.load(run, device="cpu").log_likelihood(x[:4], y[:4]).nats, model.log_likelihood(x[:4], y[:4]).nats)


def test_a_budget_is_planned_on_the_device(gpu, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(preparing, "seconds_per_step", lambda *args, **options: 0.01)
    job = preparing.prepare(data("points")[0], minutes=0.01, device=gpu)
    assert job.config.plan.steps >= 10


def mixture() -> Mixture:
    eye = there(torch.eye(2).expand(2, 2, 2))
    return Mixture(there(torch.tensor([0.3, 0.7])), there(torch.tensor([[-1.0, 0.0], [1.0, 0.5]])), 0.1 * eye)


def test_distributions_draw_and_score_where_they_are(gpu) -> None:
    mixed, x = mixture(), there(torch.ones(3, 2))
    for found in (
        mixed.sample(5, rng=0),
        mixed.components(5, rng=0),
        mixed.noised(0.5, 1.0).sample(5, rng=0),
        mixed.log_prob(x),
        mixed.score(x),
        Cloud(x).sample(5, rng=0),
        Gaussian(there(torch.zeros(2)), there(torch.eye(2))).sample(5, rng=0),
        Gaussian(there(torch.zeros(2)), there(torch.eye(2))).log_prob(x),
    ):
        assert found.device == GPU
    # Parameters may stay on the CPU while the points are elsewhere.
    plain = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    assert plain.score(x).device == GPU


def denoisers(process: Diffusion) -> list:
    labels = torch.tensor([0, 1])
    network = build(NetworkSpec(kind="mlp", widths=(16,), depth=1), 2, 2, (2,), 2).to(GPU)
    learned = LearnedDenoiser(process, network, predict_edm(1.0))
    exact = [ExactDenoiser(process, mixture(), there(labels)), ExactDenoiser(process, mixture(), labels)]
    known = [RecordedDenoiser(process, there(torch.randn(2, 2)), there(labels)), *exact, learned]
    asked = there(torch.tensor([0, 1, 1]))
    given = [one.given(label) for one in known for label in (1, asked)]
    return [*known, *given, GuidedDenoiser(learned.given(asked), learned, 1.0)]


@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), lambda: DiscreteChain(linear_betas(20))])
def test_every_denoiser_on_every_schedule(gpu, schedule) -> None:
    process, x = Diffusion(schedule(), (2,)), there(torch.ones(3, 2))
    for denoiser in denoisers(process):
        for t in (0.5, there(torch.full((3,), 0.5, dtype=torch.float64))):
            for found in (denoiser.denoised(x, t), denoiser.score(x, t), denoiser.velocity(x, t)):
                assert found.device == GPU
                assert bool(found.isfinite().all())
    assert process.forward(x, 0.3, rng=0).device == GPU
    assert process.bridge(x, x, 0.5, 0.2, rng=0).device == GPU


def test_every_sampler(gpu) -> None:
    process = Diffusion(EDM(2.0), (2,))
    denoiser, times = ExactDenoiser(process, mixture()), uniform(process, 3, end=0.1)
    langevin = Langevin(denoiser)
    for sampler in (
        Ancestral(denoiser),
        EulerMaruyama(Reverse(process, denoiser.score)),
        Heun(denoiser, churn=1.0),
        langevin,
        PredictorCorrector(Heun(denoiser), langevin),
    ):
        assert last(sampler(there(torch.ones(3, 2)), times, rng=0)).x.device == GPU


def test_only_a_gpu_trains_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: asked.append((args, options)) or "autocast")
    assert loop.precision(torch.device("cuda", 1)) == "autocast"
    assert asked == [(("cuda",), {"dtype": torch.bfloat16})]
    for name in ("cpu", "meta", "mps"):
        assert loop.precision(torch.device(name)) != "autocast"
    assert len(asked) == 1


def test_losses_are_float32_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, tried on the CPU: the network computes in it, and weights, gradients and moments do not."""
    monkeypatch.setattr(loop, "precision", lambda device: torch.autocast("cpu", dtype=torch.bfloat16))
    seen: list[torch.dtype] = []
    monkeypatch.setattr(
        nn.functional,
        "linear",
        lambda *args, usual=nn.functional.linear: seen.append((out := usual(*args)).dtype) or out,
    )
    job = preparing.prepare(data("points")[0], steps=2, batch=8, device="cpu")
    assert all(np.isfinite(step.loss) for step in job.run())
    assert torch.bfloat16 in seen
    kept = [*job.state.denoiser.network.parameters(), *job.state.average.network.parameters()]
    kept += [p.grad for p in job.state.denoiser.network.parameters() if p.grad is not None]
    kept += [m for moments in job.state.optimiser.state.values() for m in moments.values()]
    assert {t.dtype for t in kept} == {torch.float32}
    seen.clear()
    job.finish()[0].sample(2, steps=1)
    assert set(seen) == {torch.float32}
