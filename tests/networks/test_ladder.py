"""Presets by name: they rise, they fit every size of picture, and what is not measured stays what it was."""

from itertools import pairwise

import pytest
import torch

from driftback.errors import BadInput
from driftback.networks.ladder import NAMES, asked, folded, kinds_for, ladder, named, preset
from driftback.networks.presets import NetworkSpec, build, cost

POINTS = [(2,), (30,)]
PICTURES = [(1, 8, 8), (3, 15, 9), (1, 28, 28), (3, 64, 64), (3, 218, 178)]


def parameters(spec: NetworkSpec, event: tuple[int, ...]) -> int:
    with torch.device("meta"):
        network = build(spec, event[0], event[0], event, 0)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("event", [*POINTS, *PICTURES])
def test_every_rung_is_larger_than_the_one_below(event: tuple[int, ...]) -> None:
    for kind in kinds_for(event):
        found = ladder(kind, event, 1000)
        assert tuple(found.rungs) == NAMES[: len(found.rungs)]
        assert {found.default, *found.climbed} <= set(found.rungs)
        sizes = [parameters(spec, event) for spec in found.rungs.values()]
        assert all(1.3 < b / a < 6 for a, b in pairwise(sizes)), sizes
        assert sizes[-1] < 12e6


@pytest.mark.parametrize("event", PICTURES)
def test_places_are_bearable_whatever_the_size(event: tuple[int, ...]) -> None:
    for kind, most in (("unet", 32), ("dit", 16)):
        for spec in ladder(kind, event, 1000).rungs.values():
            assert -(-max(event) // spec.patch) <= most


@pytest.mark.parametrize("event", PICTURES)
def test_where_detail_counts_there_is_one_resolution_more(event: tuple[int, ...]) -> None:
    coarse, fine = (ladder("unet", event, 1000, fine=fine).rungs for fine in (False, True))
    assert tuple(coarse) == tuple(fine)
    for name, spec in fine.items():
        before = coarse[name]
        if before.patch == 1:
            assert spec == before
            continue
        assert spec.patch == before.patch // 2
        assert spec.widths[1:] == before.widths
        assert spec.widths[0] == max(8, before.widths[0] // 16 * 8)
        assert (spec.depth, spec.attention) == (before.depth, before.attention)
        assert named(spec, event, 1000) == name
        out = build(spec, event[0], 2, event, 0)(torch.zeros(1, *event), torch.zeros(1))
        assert out.shape == (1, 2, *event[1:])
    assert ladder("dit", event, 1000, fine=True) == ladder("dit", event, 1000)
    assert ladder("mlp", (3,), 1000, fine=True) == ladder("mlp", (3,), 1000)


def test_detail_costs_up_to_twice_as_much() -> None:
    for name in ("tiny", "small", "medium", "large"):
        coarse, fine = (asked(name, (1, 28, 28), 60_000, fine=fine).spec for fine in (False, True))
        flops = [
            cost(build(spec, 1, 1, (1, 28, 28), 0).requires_grad_(False), 1, (1, 28, 28), cores=1).flops_per_item
            for spec in (coarse, fine)
        ]
        assert 1.1 < flops[1] / flops[0] < 2.1, (name, flops)


def test_small_rungs_take_every_size() -> None:
    for event in [(1, 13, 10), (3, 45, 54)]:
        for kind in kinds_for(event):
            spec = ladder(kind, event, 1000).rungs["tiny"]
            out = build(spec, event[0], 2, event, 0)(torch.zeros(1, *event), torch.zeros(1))
            assert out.shape == (1, 2, *event[1:])


def test_folding_is_the_least_that_suffices() -> None:
    assert [folded(side, 16) for side in (1, 16, 17, 32, 33, 218)] == [1, 1, 2, 2, 4, 16]


@pytest.mark.parametrize(
    ("event", "kind", "widths", "patch", "attention"),
    [
        ((2,), "mlp", (128,), 1, False),
        ((30,), "mlp", (384,), 1, False),
        ((1, 8, 8), "unet", (48,), 1, False),
        ((1, 16, 16), "unet", (64, 128), 1, True),
        ((1, 28, 28), "unet", (64, 128), 2, True),
        ((3, 64, 48), "unet", (64, 128), 2, True),
        ((3, 218, 178), "unet", (64, 128), 8, True),
    ],
)
def test_where_steps_are_given_the_network_is_what_it_was(event, kind, widths, patch, attention) -> None:
    """`--steps` repeats exactly, also what an earlier version trained: these are its numbers."""
    spec = preset(event, 1000)
    assert (spec.kind, spec.widths, spec.patch, spec.attention) == (kind, widths, patch, attention)
    depth = 4 if kind == "mlp" else 2
    assert (spec.depth, spec.conditioning, spec.dropout) == (depth, 128, 0.0 if event == (2,) else 0.2)


def test_words_find_their_network() -> None:
    event = (1, 28, 28)
    unets, transformers = ladder("unet", event, 100), ladder("dit", event, 100)
    assert asked(None, event, 100).spec == unets.rungs["large"]
    assert asked("dit", event, 100).spec == transformers.rungs["medium"]
    assert asked("tiny", event, 100).rungs == {"tiny": unets.rungs["tiny"]}
    assert asked("dit-tiny", event, 100).rungs == {"tiny": transformers.rungs["tiny"]}
    assert tuple(asked("dit", event, 100).rungs) == NAMES
    own = NetworkSpec(kind="unet", widths=(8,), depth=1, dropout=0.3)
    assert asked(own, event, 100).rungs == {"": own}
    assert asked("small", event, 100, discrete=True).spec.bias
    # What follows from the data and the steps makes it no other network.
    other = unets.rungs["small"].model_copy(update={"dropout": 0.4, "bias": True})
    assert named(other, event, 100) == "small"
    assert asked("small", event, 100).agrees(other)
    assert asked("unet", event, 100).agrees(other)
    assert not asked("tiny", event, 100).agrees(other)
    assert not asked("dit", event, 100).agrees(other)
    assert not asked(own, event, 100).agrees(other)
    assert named(own, event, 100) == ""


@pytest.mark.parametrize(
    ("words", "event", "told"),
    [
        ("smal", (1, 8, 8), "did you mean small?"),
        ("dit-smal", (1, 8, 8), "choose one of unet, dit, tiny"),
        ("resnet-small", (1, 8, 8), "there is no network 'resnet-small'"),
        ("dit", (5,), "not for points; choose --network mlp"),
        ("mlp", (1, 8, 8), "not for pictures; choose --network unet or dit"),
        ("huge", (2,), "there is no network 'huge'"),
        (NetworkSpec(kind="mlp", widths=(8,), depth=1), (1, 8, 8), "not for pictures"),
    ],
)
def test_other_words_are_told_what_there_is(words, event, told) -> None:
    with pytest.raises(BadInput, match=told.replace("?", r"\?")) as error:
        asked(words, event, 100)
    assert "\n" not in str(error.value)
