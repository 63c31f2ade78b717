"""Ladders of presets: for every kind of network and of item, a few of known size, from tiny to huge.

Each rung has two to four times the parameters of the one below. Larger pictures are folded, so that a rung costs about
the same whatever their size: p x p pixels become one place until at most `places` of them stand along a side,
p = 2^ceil(log2(side / places)).

Where the finest detail counts, as in likelihoods, a U-Net that folds pixels has one resolution more instead, at half
the folding and of half the width, which costs between half and twice as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from driftback.arguments import near
from driftback.errors import BadInput
from driftback.networks.presets import WIDE, NetworkSpec, dropout_of


@dataclass(frozen=True)
class Ladder:
    """Presets by name, smallest first. `default` is taken where nothing is measured; a budget of time chooses among
    `climbed`.
    """

    rungs: dict[str, NetworkSpec]
    default: str
    climbed: tuple[str, ...]

    def name_of(self, spec: NetworkSpec) -> str:
        """The name of `spec`, whatever its dropout; empty where it is none of these."""
        return next((name for name, rung in self.rungs.items() if bare(rung) == bare(spec)), "")


def bare(spec: NetworkSpec) -> NetworkSpec:
    """`spec` without what follows from the data and the number of steps."""
    return spec.model_copy(update={"dropout": 0.0, "bias": False})


def named(spec: NetworkSpec, event: tuple[int, ...], items: int) -> str:
    """The name of `spec` among the presets for such items; empty where it is none of them."""
    if spec.kind == "none":
        return ""
    return ladder(spec.kind, event, items).name_of(spec) or ladder(spec.kind, event, items, fine=True).name_of(spec)


def folded(side: int, places: int) -> int:
    """How many pixels become one place, per side, so that at most `places` stand along `side` pixels: a power of 2."""
    return 2 ** max(0, math.ceil(math.log2(side / places)))


def _mlps(event: tuple[int, ...], options: dict[str, Any]) -> Ladder:
    def rung(width: int, depth: int) -> NetworkSpec:
        return NetworkSpec(kind="mlp", widths=(width,), depth=depth, **options)

    rungs = {"tiny": rung(64, 3), "small": rung(128, 4), "medium": rung(384, 4), "large": rung(768, 6)}
    # More of them has not been seen to pay: points are no pictures, and their networks are quick anyway.
    default = "medium" if event[0] > WIDE else "small"
    return Ladder(rungs, default, (default,))


def _unets(event: tuple[int, ...], options: dict[str, Any], fine: bool = False) -> Ladder:
    side = max(event[1:])

    def rung(widths: tuple[int, ...], depth: int, places: int) -> NetworkSpec:
        # Pictures of 17 to 32 pixels have no more places than smaller ones.
        patch = 1 if side <= 16 else max(2, folded(side, places))
        attention = len(widths) > 1
        if fine and patch > 1:
            widths, patch = (widths[0] // 16 * 8, *widths), patch // 2
        return NetworkSpec(kind="unet", widths=widths, depth=depth, patch=patch, attention=attention, **options)

    above = {"large": rung((64, 128), 2, 32), "huge": rung((128, 256), 2, 32)}
    if side <= 12:
        rungs = {"tiny": rung((32,), 1, 16), "small": rung((48,), 2, 16), "medium": rung((48, 96), 2, 16)} | above
        return Ladder(rungs, "small", tuple(rungs)[1:])
    rungs = {"tiny": rung((24, 48), 1, 16), "small": rung((32, 64), 2, 16), "medium": rung((48, 96), 2, 32)} | above
    return Ladder(rungs, "large", tuple(rungs))


def _transformers(event: tuple[int, ...], options: dict[str, Any]) -> Ladder:
    def rung(width: int, depth: int, places: int) -> NetworkSpec:
        patch = folded(max(event[1:]), places)
        return NetworkSpec(kind="dit", widths=(width,), depth=depth, patch=patch, **options)

    rungs = {
        "tiny": rung(64, 3, 8),
        "small": rung(96, 4, 8),
        "medium": rung(128, 6, 8),
        "large": rung(192, 6, 16),
        "huge": rung(256, 8, 16),
    }
    return Ladder(rungs, "medium", tuple(rungs))


_Make = Callable[[tuple[int, ...], dict[str, Any]], Ladder]
_POINTS: dict[str, _Make] = {"mlp": _mlps}
_PICTURES: dict[str, _Make] = {"unet": _unets, "dit": _transformers}
_FINE: dict[str, _Make] = {"unet": partial(_unets, fine=True)}
"""The kinds that have other rungs where the finest detail counts."""
KINDS = (*_POINTS, *_PICTURES)
NAMES = ("tiny", "small", "medium", "large", "huge")


def kinds_for(event: tuple[int, ...]) -> tuple[str, ...]:
    """The kinds of network for items of shape `event`, (d,) or (c, h, w); the usual one first."""
    return tuple(_POINTS if len(event) == 1 else _PICTURES)


def ladder(kind: str, event: tuple[int, ...], items: int, *, discrete: bool = False, fine: bool = False) -> Ladder:
    """The presets of `kind` for `items` items of shape `event`; `discrete` adds the table that a histogram fills, and
    `fine` says that the finest detail counts, for which U-Nets alone have other rungs.

    Raises BadInput for a kind that is not for such items.
    """
    known = kinds_for(event)
    if kind not in known:
        what = "points" if len(event) == 1 else "pictures"
        raise BadInput(f"a network of kind {kind} is not for {what}; choose --network {' or '.join(known)}")
    options = {"dropout": dropout_of(event, items), "bias": discrete}
    return (_POINTS | _PICTURES | (_FINE if fine else {}))[kind](event, options)


def preset(event: tuple[int, ...], items: int, *, discrete: bool = False) -> NetworkSpec:
    """What is taken where nothing is asked for and no speed is measured."""
    usual = ladder(kinds_for(event)[0], event, items, discrete=discrete)
    return usual.rungs[usual.default]


@dataclass(frozen=True)
class Asked:
    """What a person asked for: a ladder, and a rung of it by `name`, or a network of their own as `own`."""

    ladder: Ladder
    name: str = ""
    own: NetworkSpec | None = None

    @property
    def spec(self) -> NetworkSpec:
        """The network to start from, before a budget chooses another."""
        return self.own or self.ladder.rungs[self.name or self.ladder.default]

    @property
    def rungs(self) -> dict[str, NetworkSpec]:
        """What a budget may choose among, smallest first; a single one where a person has chosen."""
        if self.own is not None:
            return {"": self.own}
        return {name: self.ladder.rungs[name] for name in ((self.name,) if self.name else self.ladder.climbed)}

    def agrees(self, spec: NetworkSpec) -> bool:
        """Whether `spec` is what was asked for, whatever its dropout."""
        if self.own is not None or self.name:
            return bare(spec) == bare(self.spec)
        return spec.kind == self.spec.kind


def asked(
    network: NetworkSpec | str | None,
    event: tuple[int, ...],
    items: int,
    *,
    discrete: bool = False,
    fine: bool = False,
) -> Asked:
    """What `network` means: nothing, a spec, a kind (`dit`), a preset (`small`), or both (`dit-small`).

    Raises BadInput with the names that there are.
    """
    usual = kinds_for(event)[0]
    if isinstance(network, NetworkSpec):
        return Asked(ladder(network.kind, event, items, discrete=discrete, fine=fine), own=network)
    kind, _, name = str(network or usual).partition("-")
    if not name and kind not in KINDS:
        kind, name = usual, kind
    if kind not in KINDS:
        raise BadInput(f"there is no network {network!r}{near(str(network), (*KINDS, *NAMES))}, or both: dit-small")
    found = ladder(kind, event, items, discrete=discrete, fine=fine)
    if name and name not in found.rungs:
        known = (*kinds_for(event), *found.rungs)
        raise BadInput(f"there is no network {network!r}{near(str(network), known)}, or both: {kind}-small")
    return Asked(found, name)
