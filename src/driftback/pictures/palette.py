"""Colours by role, light and dark: Okabe and Ito's, which people tell apart whatever colours they see; one of a pair is
darker or lighter than theirs where that tells it from the other.

Densities run along a straight line of OKLab, a space in which equal distances look equally far (Okabe and Ito 2008,
'Color universal design'; Ottosson 2020, 'A perceptual color space for image processing'): lightness only rises or only
falls along it, so the map can be read without any sense of hue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driftback.pictures.scene import Role

STEPS = 32
"""So many colours has a density: bands too fine to be seen, and few enough for a small file."""

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (n, 3) from 0 to 1 as OKLab (n, 3): lightness, green to red, blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LMS.T) @ _LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """OKLab (n, 3) as sRGB (n, 3), clipped to 0 to 1."""
    linear = ((lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def colour(name: str) -> np.ndarray:
    """'#rrggbb' as sRGB (3,) from 0 to 1."""
    return np.array([int(name[k : k + 2], 16) for k in (1, 3, 5)]) / 255


@dataclass(frozen=True, eq=False)
class Palette:
    """What is behind all (`paper`), words and frames (`ink`), the `roles`, and where densities end (`dense`)."""

    paper: str
    ink: str
    dense: str
    roles: Mapping[Role, str]

    @property
    def ramp(self) -> np.ndarray:
        """The colours (STEPS, 3) of densities from 0 to their peak, sRGB from 0 to 1, in equal steps of OKLab."""
        ends = oklab(np.stack([colour(self.paper), colour(self.dense)]))
        share = np.linspace(0, 1, STEPS)[:, None]
        ramp = from_oklab((1 - share) * ends[0] + share * ends[1])
        # Where there is nothing the ground is seen, to the last bit.
        ramp[0] = colour(self.paper)
        return ramp


LIGHT = Palette(
    paper="#ffffff",
    ink="#222222",
    dense="#e69f00",
    roles={
        "data": "#555555",
        "made": "#0072b2",
        "start": "#d55e00",
        "accepted": "#005f45",
        "rejected": "#cc79a7",
        "other": "#000000",
        "faint": "#b8b8b8",
    },
)
DARK = Palette(
    paper="#14161a",
    ink="#e4e4e4",
    dense="#e69f00",
    roles={
        "data": "#c8c8c8",
        "made": "#56b4e9",
        "start": "#d55e00",
        "accepted": "#009e73",
        "rejected": "#e6b3d1",
        "other": "#f0e442",
        "faint": "#5c6066",
    },
)
PALETTES = {False: LIGHT, True: DARK}
"""By whether it is dark."""
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
"""Okabe and Ito's eight, on light paper, for lines that are many and alike and have no role."""
