"""The race: one start, an assignment that is the best one, straight ways, and distances that are measured."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch

from driftback.pictures.scene import Density, Paths, Points
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows import race as film
from driftback.pictures.shows.apart import apart
from driftback.pictures.shows.subject import subject
from driftback.randomness import Rng


@cache
def made() -> tuple:
    return tuple(SHOWS["race"].make(Options(frames=3, seed=1)).frames)


def layers(scene, kind: type, panel: int = 0) -> list:
    return [layer for layer in scene.panels[panel].layers if isinstance(layer, kind)]


def test_the_assignment_is_the_best_one() -> None:
    x, y = (Rng(seed).normal((6, 2), dtype=torch.float64) for seed in (0, 1))
    best = min(float((x - y[list(order)]).square().sum()) for order in permutations(range(6)))
    assert float((x - film.assigned(x, y)).square().sum()) == pytest.approx(best)
    x, y = (Rng(seed).normal((200, 2), dtype=torch.float64) for seed in (2, 3))
    found = film.assigned(x, y)
    assert float((x - found).square().sum()) < 0.5 * float((x - y).square().sum())
    assert torch.equal(found.sort(0).values, y.sort(0).values)


def test_all_begin_together_and_the_map_goes_straight_to_points_of_the_target() -> None:
    about, steps = subject("two-gaussians"), 8
    chains, sde, straight = film.ways(about, Options(seed=1), steps)
    assert torch.equal(chains[0], sde[0])
    assert torch.equal(chains[0], straight[0])
    for way in (chains, sde, straight):
        assert way.shape == (steps + 1, film.POINTS, 2)
    assert torch.allclose(straight[3], straight[0] + 3 / steps * (straight[-1] - straight[0]))
    # No pair of the map can be exchanged with gain.
    cost = torch.cdist(straight[0], straight[-1]).square()
    own = cost.diagonal()
    assert float((cost + cost.T - own[:, None] - own[None]).min()) > -1e-9
    first, end = about.outside(straight[0]), about.outside(straight[-1])
    assert np.linalg.norm(first, axis=1).mean() > 1
    assert abs(np.square(np.abs(end) - [2, 0]).sum(1).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(film.POINTS)
    # Chains stay at times, and only they.
    assert 0.2 < (chains[1:] == chains[:-1]).all(2).double().mean() < 0.8
    assert not (sde[1:] == sde[:-1]).all(2).any()


def real() -> torch.Tensor:
    return subject("two-gaussians").sample(film.TIMES * film.POINTS, rng=Rng(99))


def test_what_is_smoothed_for_chains_is_told() -> None:
    scene = next(iter(SHOWS["race"].make(Options(frames=2, target="two-moons")).frames))
    assert [panel.title for panel in scene.panels] == ["Metropolis chains, smoothed", *film.TITLES]
    assert made()[0].panels[0].title == "Metropolis chains"


def test_all_three_arrive_and_the_moment_says_how_near() -> None:
    scenes = made()
    told = [[float(word) for word in scene.moment.split("off by ")[1].split(", ")] for scene in scenes]
    assert len(set(told[0])) == 1, "one start"
    assert told[0][0] > 0.2
    floor = float(scenes[0].caption.split("off by ")[1])
    fresh = [apart(subject("two-gaussians").sample(film.POINTS, rng=Rng(k)), real()) for k in range(8)]
    assert 0.5 * np.mean(fresh) < floor < 2 * np.mean(fresh)
    assert max(told[-1]) < 0.15
    assert scenes[-1].moment.startswith("evaluation 60: ")
    about = subject("two-gaussians")
    for panel, scene in enumerate([scenes[-1]] * 3):
        cloud, start = layers(scene, Points, panel)
        (lines,) = layers(scene, Paths, panel)
        assert np.allclose(lines.lines[:, -1], cloud.x[: film.WAYS])
        assert np.array_equal(lines.lines[:, 0], start.x)
        again = about.inside(torch.from_numpy(cloud.x))
        fresh = about.sample(4 * film.POINTS, rng=Rng(9))
        # Other draws of the target: nearly the same distance.
        assert abs(apart(again, fresh) - told[-1][panel]) < 0.1
    (density,) = layers(scenes[0], Density)
    assert density.integral == pytest.approx(1, abs=0.02)


def test_chains_begin_where_a_shape_has_no_mass() -> None:
    chains = film.ways(subject("checkerboard"), Options(), 2)[0]
    assert torch.isfinite(chains).all()
