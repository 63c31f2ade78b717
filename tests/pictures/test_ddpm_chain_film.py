"""The film of DDPM's chain: its steps are the paper's, and with more of them it goes where the SDE goes."""

from functools import cache

import numpy as np
import pytest
import torch

from driftback.pictures.scene import Density, Paths, Points
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows import ddpm_chain as film
from driftback.pictures.shows.subject import subject
from driftback.processes.ddpm import betas_of
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP


@cache
def made() -> tuple:
    about = subject("two-gaussians")
    return about, *film.ways(about, Options())


def layers(scene, kind: type, panel: int = 0) -> list:
    return [layer for layer in scene.panels[panel].layers if isinstance(layer, kind)]


def test_more_steps_come_nearer_to_the_sde() -> None:
    _, sde, chains = made()
    assert [len(way) - 1 for way in chains] == [10, 50, 1000]
    for way in chains:
        assert torch.equal(way[0], sde[0])
    off = [float((way[-1] - sde[-1]).square().mean().sqrt()) for way in chains]
    assert off[0] > 2 * off[1] > 10 * off[2]
    assert off[2] < 0.02
    # The same all along the path, and not by chance: another Brownian motion leads elsewhere.
    assert float((chains[2] - sde).square().mean().sqrt()) < 0.02
    assert float((chains[2][:, 1:] - sde[:, :-1]).square().mean().sqrt()) > 0.5


def test_a_step_is_the_papers() -> None:
    """x_{k-1} - mean of q(x_{k-1} | x_k, D), in its deviations, is standard normal: equations 6 and 7 of Ho et al."""
    about, _, chains = made()
    betas = betas_of(VP(), 50)
    kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    denoiser, found = about.denoiser(Diffusion(VP(), (2,))), []
    for k in range(50, 1, -1):
        now, then = chains[1][50 - k], chains[1][50 - k + 1]
        beta, old, new = betas[k - 1], kept[k], kept[k - 1]
        guess = denoiser.denoised(now, k / 50)
        mean = (new.sqrt() * beta * guess + (1 - beta).sqrt() * (1 - new) * now) / (1 - old)
        found.append((then - mean) / ((1 - new) / (1 - old) * beta).sqrt())
    z = torch.stack(found)
    # 6,272 numbers.
    assert abs(float(z.mean())) < 4.5 / z.numel() ** 0.5
    assert abs(float(z.square().mean()) - 1) < 4.5 * (2 / z.numel()) ** 0.5
    # The last step has no noise of its own: it goes to the guess.
    assert torch.allclose(chains[1][-1], denoiser.denoised(chains[1][-2], 1 / 50))


def test_the_thousand_steps_end_in_the_target() -> None:
    about, _, chains = made()
    x = about.outside(chains[2][-1])
    near = np.minimum(*(np.linalg.norm(x - [side, 0], axis=1) for side in (-2, 2)))
    assert abs(np.square(near).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(len(x))


def test_lines_are_the_chains_over_the_density_of_each_time(monkeypatch) -> None:
    about, sde, chains = made()
    monkeypatch.setattr(film, "ways", lambda about, options: (sde, chains))
    middle, last = list(SHOWS["ddpm-chain"].make(Options(frames=3)).frames)[1:]
    for panel, way in enumerate(chains):
        steps = len(way) - 1
        chain, path = layers(last, Paths, panel)
        assert (chain.role, path.role) == ("made", "other")
        assert np.allclose(chain.lines[:, :, 1], about.outside(way)[:, : film.WAYS, 0].T)
        assert np.allclose(chain.lines[:, :, 0], np.linspace(0, 1, steps + 1))
        assert np.allclose(path.lines[:, :, 1], about.outside(sde)[:, : film.WAYS, 0].T)
        assert layers(middle, Paths, panel)[0].lines.shape[1] == steps // 2 + 1
        assert layers(middle, Paths, panel)[1].lines[:, -1, 0] == pytest.approx(0.5), "the SDE is no further"
        cloud, start = layers(last, Points, panel)
        assert np.allclose(cloud.x, np.stack([np.ones(film.POINTS), about.outside(way[-1])[:, 0]], 1))
        assert np.array_equal(start.x, path.lines[:, 0])
    off = ", ".join(f"{float((way[-1] - sde[-1]).square().mean().sqrt()):.2f}" for way in chains)
    assert last.moment == f"t = 0.00, apart by {off}"
    half = [float((way[(len(way) - 1) // 2] - sde[film.FINE // 2]).square().mean().sqrt()) for way in chains]
    assert middle.moment == f"t = 0.50, apart by {', '.join(f'{one:.2f}' for one in half)}"
    (density,) = layers(last, Density)
    assert density.integral == pytest.approx(1, abs=0.01)
    # By the SDE's time 1 - (39 + 1/2) / 40 two Gaussians are nearly as they were: N(+-2, 1/4) along the first number.
    x = np.linspace(*density.extent[2:], 97)[:-1] + (density.extent[3] - density.extent[2]) / 192
    exact = sum(np.exp(-2 * (x - side) ** 2) for side in (-2, 2)) / np.sqrt(2 * np.pi)
    assert np.abs(density.values[:, -1] - exact).max() < 0.03
