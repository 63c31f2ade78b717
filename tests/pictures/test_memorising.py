"""`memorising`: the exact score of recorded points returns the points themselves, the smoothed one does not."""

import numpy as np
import torch

from driftback.distributions.shapes2d import SHAPES
from driftback.pictures.scene import Points, Scene
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows.memorising import COPY, copies


def shown(**named) -> list[Scene]:
    return list(SHOWS["memorising"].make(Options(**named)).frames)


def parts(scene: Scene, panel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The recorded points, those that are new, and those that are copies."""
    known, new, copied = (layer.x for layer in scene.panels[panel].layers if isinstance(layer, Points))
    return known, new, copied


def test_copies_are_copies_and_only_the_exact_score_makes_them_all() -> None:
    first, *_, last = shown(frames=4, seed=1)
    assert [len(parts(first, panel)[2]) for panel in (0, 1, 2)] == [0, 0, 0], "a point in noise is a copy of none"
    assert np.array_equal(parts(first, 0)[1], parts(first, 1)[1]), "one start"
    assert np.allclose(parts(first, 0)[1], parts(first, 2)[1], atol=1e-5)
    shares, gaps = [], []
    for panel in (0, 1, 2):
        known, new, copied = parts(last, panel)
        assert len(known) == 40
        assert len(new) + len(copied) == 120
        gap = np.linalg.norm(known[:, None] - known, axis=2)
        near = COPY * np.sort(gap, axis=1)[:, 1].mean()
        for x, inside in ((copied, True), (new, False)):
            distance = np.linalg.norm(x[:, None] - known, axis=2).min(1)
            assert ((distance < near * (1 + 1e-6)) == inside).all()
        shares.append(len(copied) / 120)
        gaps.append(len(np.unique(np.round(np.concatenate([new, copied]), 3), axis=0)))
    assert shares[0] > 0.95
    assert max(shares[1:]) < 0.4
    assert gaps[0] <= 40 < min(gaps[1:]), "no more places than points were recorded"
    told = [int(word) for word in last.moment.split() if word.isdigit()]
    assert told == [round(100 * share) for share in shares]
    # The copies are marked on the picture by another colour.
    assert [layer.role for layer in last.panels[0].layers] == ["other", "made", "start"]


def test_fresh_draws_are_copies_by_chance_alone() -> None:
    """What is called a copy is rare among honest draws, or red would say nothing."""
    moons = SHAPES["two-moons"]()
    known = moons.sample(40, rng=0).double()
    gap = float(torch.cdist(known, known).fill_diagonal_(torch.inf).amin(1).mean())
    fresh = moons.sample(4000, rng=1).double()
    assert copies(fresh, known, COPY * gap).mean() < 0.02
    assert copies(known, known, COPY * gap).all()
