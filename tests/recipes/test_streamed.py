"""A folder on the disk gives the model and the judgement that the same folder in memory gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from driftback.data import Dataset, pictures, rows
from driftback.data.rows import Rows
from driftback.evaluation.memorisation import nearest_two
from driftback.networks.presets import NetworkSpec
from driftback.recipes import evaluate, streamed
from driftback.recipes.diagnose import diagnose
from driftback.recipes.prepare import prepare
from driftback.training import items

SPEC = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for k in range(160):
        place = tmp_path / "photos" / "ab"[k % 2] / f"{k:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.integers(0, 256, (5, 6)) // (1 + k % 2)).astype(np.uint8)).save(place)
    return tmp_path / "photos"


def on_the_disk(monkeypatch):
    monkeypatch.setattr(pictures, "IN_MEMORY", -1)
    monkeypatch.setattr(rows, "SMALL", 0)


def fitted(folder, run):
    job = prepare(folder, steps=12, batch=16, network=SPEC, out=run, device="cpu")
    for _ in job.run():
        pass
    return job, job.finish()[0]


@pytest.mark.slow
def test_a_model_and_its_judgement_are_the_same_wherever_the_data_lie(folder, tmp_path, monkeypatch):
    # The one number that is summed up in another order, and so differs in its last bit.
    monkeypatch.setattr(items.Items, "spread", lambda self: 0.5)
    _, here = fitted(folder, tmp_path / "here")
    found = evaluate.evaluate(here, n=40)
    on_the_disk(monkeypatch)
    job, there = fitted(folder, tmp_path / "there")
    assert job.items.held is None
    assert isinstance(job.held.x, Rows)
    assert here.config == there.config
    assert all(
        map(torch.equal, here.denoiser.network.state_dict().values(), there.denoiser.network.state_dict().values())
    )
    again = evaluate.evaluate(there, n=40)
    assert isinstance(evaluate.original(there.config).train.x, Rows)
    assert isinstance(again.real.train.x, np.ndarray)
    assert again.metrics == found.metrics
    # A part of the items is enough for distances, and copies are sought among all of them.
    monkeypatch.setattr(evaluate, "MOST_TRAIN", 20)
    part = evaluate.evaluate(there, n=40)
    assert len(part.real.train) == 20
    copies = [m for m in part.metrics if m.name.startswith("copies")]
    assert copies == [m for m in found.metrics if m.name.startswith("copies")]
    assert diagnose(there, evaluate.original(there.config), n=80, steps=2).checks


def test_a_model_is_resumed_from_the_disk(folder, tmp_path, monkeypatch):
    on_the_disk(monkeypatch)
    job = prepare(folder, steps=12, batch=16, network=SPEC, out=tmp_path / "run", device="cpu")
    for progress in job.run(stop=lambda: job.state.step == 5):
        assert progress.step <= 5
    again = prepare(folder, out=tmp_path / "run", resume=True, device="cpu")
    assert again.state.step == 5


def test_the_nearest_items_are_found_among_all(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SMALL", 0)
    monkeypatch.setattr(rows, "RESIDENT", 1 << 10)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (500, 6, 6)).astype(np.uint8)
    x[300:310] = x[3]  # twins, which are one item
    np.save(tmp_path / "x.npy", x)
    train = Dataset(Rows.of(tmp_path / "x.npy", x.shape), kind="pictures")
    asked = torch.from_numpy(rng.integers(0, 256, (30, 36))).float()
    asked[0] = torch.from_numpy(x[3]).flatten() + 0.5
    monkeypatch.setattr(streamed, "blocks", lambda x: rows.blocks(x, 36 * 37))
    found = streamed.nearest(train, lambda x: torch.from_numpy(x[:]).float(), asked)
    assert len(found) == len(set(found)) <= streamed.NEAREST * len(asked)
    assert not np.isin(found, np.arange(300, 310)).any()
    _, distance, ratio = nearest_two(asked.numpy(), x.reshape(500, -1).astype(float))
    _, near, alike = nearest_two(asked.numpy(), x[found].reshape(len(found), -1).astype(float))
    np.testing.assert_array_equal(near, distance)
    np.testing.assert_array_equal(alike, ratio)
    assert ratio[0] < 0.1


def test_a_part_is_bounded_in_items_and_in_numbers(tmp_path, monkeypatch):
    x = np.arange(50 * 4, dtype=np.uint8).reshape(50, 2, 2)
    np.save(tmp_path / "x.npy", x)
    held = Dataset(x, np.arange(50), "pictures")
    assert streamed.part_of(held, 5) is held
    monkeypatch.setattr(rows, "SMALL", 0)
    stored = replace(held, x=Rows.of(tmp_path / "x.npy", x.shape))
    some = streamed.part_of(stored, 5)
    assert (type(some.x), len(some)) == (np.ndarray, 5)
    np.testing.assert_array_equal(some.x, x[some.y])
    monkeypatch.setattr(streamed, "NUMBERS", 12)
    assert len(streamed.part_of(stored, 5)) == 3
