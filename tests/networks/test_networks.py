import pytest
import torch
from torch import Tensor, nn

from driftback.networks.backbone import Backbone
from driftback.networks.embedding import ClassBias, Conditioning
from driftback.networks.ladder import preset
from driftback.networks.mlp import MLP
from driftback.networks.presets import NetworkSpec, build, cost, dropout_of
from driftback.networks.unet import UNet

EVENTS = [(2,), (30,), (1, 8, 8), (3, 13, 10), (1, 28, 28), (3, 45, 54)]


def small_dit(patch: int) -> NetworkSpec:
    return NetworkSpec(kind="dit", widths=(64,), depth=2, patch=patch, dropout=0.1)


CASES = [(preset(event, 1000), event) for event in EVENTS] + [
    (small_dit(1), (1, 8, 8)),
    (small_dit(2), (3, 13, 10)),
    (small_dit(4), (1, 28, 28)),
    (small_dit(8), (3, 45, 54)),
]
"""Every kind of network, on every kind of item that it is for."""


def backbone(spec: NetworkSpec, event: tuple[int, ...], classes: int = 3) -> Backbone:
    return build(spec, event[0], 2 * event[0], event, classes, seed=1)


def woken(network: nn.Module) -> nn.Module:
    """The network with no weight at zero, as after training, so that nothing is hidden by a zero last layer."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    return network.eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("spec", "event"), CASES)
class TestContract:
    def test_shape_and_start(self, spec: NetworkSpec, event: tuple[int, ...]) -> None:
        network = backbone(spec, event).eval()
        out = network(noise(3, *event), torch.zeros(3), torch.tensor([0, 1, 3]))
        assert out.shape == (3, 2 * event[0], *event[1:])
        assert torch.equal(out, torch.zeros_like(out))

    def test_number_and_class_matter(self, spec: NetworkSpec, event: tuple[int, ...]) -> None:
        network, x = woken(backbone(spec, event)), noise(1, *event).expand(4, *event)
        out = network(x, torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 3]))
        for i in (1, 2, 3):
            assert not torch.allclose(out[0], out[i])
        # No label is the class behind the last.
        assert torch.allclose(out[3], network(x[:1], torch.zeros(1), None)[0], atol=1e-5)

    def test_items_do_not_see_each_other(self, spec: NetworkSpec, event: tuple[int, ...]) -> None:
        network, x = woken(backbone(spec, event)), noise(3, *event)
        alone = network(x[1:2], torch.ones(1), torch.tensor([2]))
        together = network(x, torch.ones(3), torch.tensor([0, 2, 1]))
        assert torch.allclose(alone[0], together[1], atol=1e-4)

    def test_same_seed_same_weights(self, spec: NetworkSpec, event: tuple[int, ...]) -> None:
        before = torch.random.get_rng_state()
        one, two = backbone(spec, event), backbone(spec, event)
        assert torch.equal(before, torch.random.get_rng_state()), "building must not touch global randomness"
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_every_weight_learns(self, spec: NetworkSpec, event: tuple[int, ...]) -> None:
        network = woken(backbone(spec, event)).train()
        network(noise(4, *event), torch.ones(4), torch.tensor([0, 1, 2, 3])).square().sum().backward()
        idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []


def test_cost_counts_operations() -> None:
    network = Backbone(MLP(2, 2, 8, width=16, depth=1), Conditioning(8, waves=4))
    macs = 2 * 16 + 2 * 16 * 16 + 8 * 32 + 16 * 2 + (9 * 8 + 8 * 8)
    found = cost(network, 2, (2,), cores=2)
    assert found.flops_per_item == 2 * macs
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.items_per_second == pytest.approx(2 * 2e10 / (3 * 2 * macs))


def test_cost_counts_memory() -> None:
    layer = nn.Linear(3, 5)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
            return self.layer(x).exp()

    found = cost(Plain(), 3, (3,), cores=1)
    # The layer keeps its input (3 numbers), the exponential its output (5): float32.
    assert found.bytes_per_item == 4 * (3 + 5)
    assert found.bytes_of_weights == 4 * (3 * 5 + 5)
    before = torch.random.get_rng_state()
    wide, small = ((1, side, side) for side in (16, 8))
    costs = [cost(build(preset((1, 8, 8), 100), 1, 1, event, 0), 1, event, cores=1) for event in (wide, small)]
    assert costs[0].bytes_per_item == pytest.approx(4 * costs[1].bytes_per_item, rel=0.1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_larger_pictures_are_folded() -> None:
    assert preset((3, 218, 178), 1000).patch == 8
    assert preset((1, 28, 28), 1000).patch == 2
    assert preset((1, 8, 8), 1000).patch == 1


def test_few_items_get_dropout() -> None:
    assert preset((1, 8, 8), 1000).dropout > preset((1, 8, 8), 60_000).dropout
    assert dropout_of((1, 8, 8), 1000, passes=200) == 2 * dropout_of((1, 8, 8), 1000)
    assert dropout_of((2,), 1000, passes=200) == 0


def test_unet_sees_the_whole_padded_picture() -> None:
    network = woken(UNet(1, 1, (9, 7), 4, widths=(8, 8), blocks=1))
    x = noise(1, 1, 9, 7).requires_grad_()
    network(x, torch.ones(1, 4)).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).all())


def test_class_bias_rows() -> None:
    bias = ClassBias((2, 3), classes=2)
    with torch.no_grad():
        bias.table.copy_(torch.arange(3.0)[:, None, None].expand(3, 2, 3))
    assert bias(torch.tensor([1, 0, 2]), 3)[:, 0, 0].tolist() == [1, 0, 2]
    assert bias(None, 2)[:, 0, 0].tolist() == [2, 2]


def test_spec_is_json() -> None:
    spec = preset((1, 8, 8), 100, discrete=True)
    assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec
