"""A training does not depend on where its items lie: held in memory, or encoded as they are asked for."""

import hashlib

import numpy as np
import pytest
import torch

from driftback.data import Dataset, Preprocessing, rows
from driftback.data.rows import Rows
from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.recipes.start import SHRINK, fill_bias
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels, predict_edm
from driftback.training import items as module
from driftback.training.items import Items
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio

X = np.random.default_rng(0).integers(0, 256, (90, 6, 5, 3)).astype(np.uint8)
LABEL = torch.arange(90) % 4


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The same items on the disk."""
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(rows, "SMALL", 0)
    monkeypatch.setattr(module, "BLOCK", 7 * 90)
    return Rows.of(tmp_path / "x.npy", X.shape)


@pytest.fixture
def both(stored):
    prepared = Preprocessing.fit(Dataset(X, kind="pictures", value_range=(0.0, 255.0)))
    made = [Items.encoded(x, prepared.encode, LABEL) for x in (X, stored)]
    assert [each.held is None for each in made] == [False, True]
    return made


def test_items_are_the_same_wherever_they_lie(both):
    held, read = both
    index = torch.tensor([5, 80, 5, 0])
    for one, other in zip(held.take(index), read.take(index), strict=True):
        assert torch.equal(one, other)
    assert (len(held), held.event) == (len(read), read.event) == (90, (3, 6, 5))
    assert torch.equal(torch.cat([part for part, _ in read.parts()]), held.held)
    assert torch.equal(torch.cat([label for _, label in read.parts()]), LABEL)


def test_the_fingerprint_is_that_of_all_bytes(both):
    digest = hashlib.sha256(both[0].held.contiguous().numpy().tobytes() + LABEL.numpy().tobytes()).hexdigest()
    assert both[0].fingerprint() == both[1].fingerprint() == digest
    assert Items.of(both[0].held).fingerprint() != digest


def test_the_spread_is_that_of_all_numbers(both):
    whole = float(both[0].held.double().std())
    assert both[0].spread() == whole
    assert both[1].spread() == pytest.approx(whole, rel=1e-12)


def test_training_is_the_same_to_the_last_bit(both):
    spec = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)
    plan, ends = Plan(steps=4, batch=16, warmup=1), []
    for items in both:
        denoiser = LearnedDenoiser(Diffusion(EDM(), (3, 6, 5)), build(spec, 3, 3, (3, 6, 5), 4), predict_edm(1.0))
        state = State.start(denoiser, plan)
        losses = [step.loss for step in train(state, items, None, LogNormalRatio(-0.5, 1.2), plan)]
        ends.append((losses, [p.detach().clone() for p in denoiser.network.parameters()]))
    assert ends[0][0] == ends[1][0]
    assert all(map(torch.equal, ends[0][1], ends[1][1]))


def test_a_tensor_and_its_labels_are_items(both):
    spec = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)
    plan, losses = Plan(steps=2, batch=16, warmup=1), []
    for given in ((both[0], None), (both[0].held, LABEL)):
        denoiser = LearnedDenoiser(Diffusion(EDM(), (3, 6, 5)), build(spec, 3, 3, (3, 6, 5), 4), predict_edm(1.0))
        run = train(State.start(denoiser, plan), *given, LogNormalRatio(-0.5, 1.2), plan)
        losses.append([step.loss for step in run])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("classes", [0, 4])
def test_the_table_is_the_histogram_by_place_and_class(classes):
    levels = Levels(-1.0, 1.0, 3, 1.0)
    x0 = torch.from_numpy(np.random.default_rng(1).integers(-1, 2, (2500, 2, 3, 3))).float()
    label = torch.arange(2500) % 4 if classes else None
    spec = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16, bias=True)
    network = build(spec, 2, 6, (2, 3, 3), classes)
    fill_bias(network, levels, Items.of(x0, label))
    table = network.bias.table.detach().reshape(classes + 1, 2, 3, 3, 3)  # class, channel, level, place
    pooled = torch.stack([(x0 == v).sum(0) for v in (-1, 0, 1)], 1) + 0.5
    pooled = pooled / pooled.sum(1, keepdim=True)
    torch.testing.assert_close(table[-1].exp(), pooled)
    for k in range(classes):
        own = torch.stack([(x0[label == k] == v).sum(0) for v in (-1, 0, 1)], 1) + SHRINK * pooled
        torch.testing.assert_close(table[k].exp(), own / own.sum(1, keepdim=True))
