"""Every encoder of conditions: one contract. A new one joins by a line."""

import copy

import pytest
import torch
from torch import Tensor, nn

from driftback.errors import BadInput
from driftback.networks.embedding import ClassTable, Conditioning
from driftback.networks.ladder import preset
from driftback.networks.numbers import NumberEncoder, VectorEncoder
from driftback.networks.presets import build
from driftback.networks.text import SPELT, TextEncoder

WIDTH = 12
ENCODERS = {
    "classes": (lambda: ClassTable(5, WIDTH), torch.tensor([0, 4, 2, 2])),
    "numbers": (lambda: NumberEncoder(2, WIDTH), torch.tensor([[0.1, 1.0], [-2.0, torch.nan], [0.0, 0.0], [0.0, 0.0]])),
    "vectors": (lambda: VectorEncoder(3, WIDTH), torch.eye(3)[[0, 1, 2, 2]]),
    "text": (
        lambda: TextEncoder(9, 4, WIDTH, inner=16),
        torch.tensor([[2, 3, 0, 0], [8, 0, 0, 0], [3, 2, 4, 5], [3, 2, 4, 5]]),
    ),
}
WRONG = {
    "classes": torch.tensor([5]),
    "numbers": torch.full((1, 2), torch.inf),
    "vectors": torch.zeros(1, 4),
    "text": torch.tensor([[9, 0, 0, 0]]),
}


def woken(make) -> nn.Module:
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape)
    return module.eval()


@pytest.mark.parametrize("name", ENCODERS)
class TestContract:
    def test_rows_become_vectors_of_their_own(self, name: str) -> None:
        with torch.random.fork_rng():
            encoder, y = woken(ENCODERS[name][0]), ENCODERS[name][1]
        out = encoder(y)
        assert out.shape == (4, WIDTH)
        assert torch.isfinite(out).all()
        assert torch.allclose(out[2], out[3], atol=1e-6)
        assert not torch.allclose(out[0], out[1], atol=1e-4)
        assert torch.allclose(encoder(y[1:2])[0], out[1], atol=1e-5), "items do not see each other"
        assert y.shape[1:] == encoder.row
        encoder.refuse(y)

    def test_nothing_is_a_row_too(self, name: str) -> None:
        with torch.random.fork_rng():
            encoder, y = woken(ENCODERS[name][0]), ENCODERS[name][1]
        none = encoder.none(4, torch.device("cpu"))
        assert none.dtype == y.dtype
        assert none.shape == y.shape
        nothing = encoder(none)
        assert torch.isfinite(nothing).all()
        assert not torch.allclose(nothing[0], encoder(y)[0], atol=1e-4)
        u, drop = torch.tensor([0.1, 0.3, 0.2, 0.99]), torch.tensor([True, False, True, False])
        mixed = encoder(encoder.dropped(y, u, 0.3))
        assert torch.allclose(mixed[drop], nothing[drop], atol=1e-6)
        assert torch.allclose(mixed[~drop], encoder(y)[~drop], atol=1e-6)

    def test_a_linear_map_is_told_as_much(self, name: str) -> None:
        encoder, y = ENCODERS[name][0](), ENCODERS[name][1]
        told = encoder.described(y)
        assert told.shape == (4, encoder.features)
        assert torch.isfinite(told).all()
        assert not encoder.described(encoder.none(4, torch.device("cpu"))).any()
        if name != "classes":  # which have weights of their own
            assert torch.equal(told[2], told[3])
            assert not torch.equal(told[0], told[1])

    def test_what_it_does_not_know_is_refused(self, name: str) -> None:
        with torch.random.fork_rng(), pytest.raises(BadInput) as caught:
            woken(ENCODERS[name][0]).refuse(WRONG[name])
        assert "\n" not in str(caught.value)

    def test_a_network_learns_by_it(self, name: str) -> None:
        make, y = ENCODERS[name]
        with torch.random.fork_rng():
            spec = preset((1, 8, 8), 100).model_copy(update={"conditioning": WIDTH, "dropout": 0.0})
            network = build(spec, 1, 1, (1, 8, 8), 0, encoder=lambda width: make())
            network.load_state_dict(woken(lambda: copy.deepcopy(network)).state_dict())
        x = torch.zeros(4, 1, 8, 8)
        out = network(x, torch.zeros(4), y)
        assert not torch.allclose(out[0], out[1], atol=1e-6)
        alone = network(x, torch.zeros(4), network.encoder.none(4, x.device))
        assert torch.allclose(network(x, torch.zeros(4), None), alone, atol=1e-6)
        network(x, torch.zeros(4), y).square().sum().backward()
        heard = {key: p.grad is not None and bool(p.grad.any()) for key, p in network.encoder.named_parameters()}
        # Every row was given: what stands for nothing learns only where something is dropped.
        assert [key for key, learns in heard.items() if not learns] in ([], ["nothing"])


def test_classes_are_what_they_were() -> None:
    """Weights by the same names and with the same first values as before there were other encoders."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        number = nn.Sequential(nn.Linear(33, 8), nn.SiLU(), nn.Linear(8, 8))
        label = nn.Embedding(4, 8)
        torch.manual_seed(3)
        found = Conditioning(8, 3)
    assert list(found.state_dict()) == [*(f"number.{k}" for k in number.state_dict()), "label.weight"]
    assert torch.equal(found.label.weight, label.weight)
    y, u = torch.tensor([0, 2, 1]), torch.tensor([0.9, 0.1, 0.5])
    assert found.label.dropped(y, u, 0.3).tolist() == [0, 3, 1]
    assert found.label.none(2, torch.device("cpu")).tolist() == [3, 3]


def test_padding_says_nothing() -> None:
    with torch.random.fork_rng():
        encoder = woken(ENCODERS["text"][0])
    before = encoder(torch.tensor([[2, 3, 0, 0]]))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        encoder.word.weight[0] += torch.randn(16, generator=generator)
        encoder.place[3:] += torch.randn(2, 16, generator=generator)
    assert torch.allclose(encoder(torch.tensor([[2, 3, 0, 0]])), before, atol=1e-5)
    order: Tensor = encoder(torch.tensor([[3, 2, 0, 0]]))
    assert not torch.allclose(order, before, atol=1e-4), "the order of words matters"


def test_a_word_that_is_rarely_seen_is_moved() -> None:
    """Adam moves a number by about the rate in a step: in twenty, a word goes elsewhere than where chance put it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = TextEncoder(40, 4, WIDTH, inner=16)
        target = torch.randn(WIDTH)
    before = encoder.word.weight.detach().clone()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=2e-3)
    for _ in range(20):
        optimiser.zero_grad()
        (encoder(torch.tensor([[5, 7, 0, 0]])) - target).square().sum().backward()
        optimiser.step()
    alike = torch.cosine_similarity(before, encoder.word.weight.detach(), dim=1)
    assert float(alike[[5, 7]].max()) < 0.9
    assert float(alike[8:].min()) > 0.999, "words that are not seen stay"


def test_rare_words_are_spelt_in_a_share_of_the_captions() -> None:
    """A rare word, 5 here, is 2, 3, 4 where it is spelt; what no longer fits is cut off, and no hole stays."""
    spelling = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0], [2, 3, 4]])
    encoder = TextEncoder(6, 4, WIDTH, inner=16, spelling=spelling, rare=1)
    y = torch.tensor([[5, 4, 0, 0], [2, 5, 3, 0], [3, 2, 0, 0], [5, 4, 0, 0], [5, 4, 0, 0]])
    u = torch.tensor([1 - SPELT + 1e-4, 0.999, 0.999, 1 - SPELT - 1e-4, 0.1])
    wanted = [[2, 3, 4, 4], [2, 2, 3, 4], [3, 2, 0, 0], [5, 4, 0, 0], [0, 0, 0, 0]]
    assert encoder.dropped(y, u, 0.2).tolist() == wanted
    assert encoder.features == 5, "a linear map is told of rare words by their pieces"
    assert encoder.described(y).tolist()[:3] == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert "spelling" not in encoder.state_dict(), "it follows from the vocabulary"


def test_numbers_near_each_other_have_near_vectors() -> None:
    with torch.random.fork_rng():
        encoder = woken(lambda: NumberEncoder(1, WIDTH))
    zero, one, by = encoder(torch.tensor([[0.0], [1.0], [1e-3]])).detach()
    far, near = float((one - zero).norm()), float((by - zero).norm())
    assert near < 0.02 * far


def test_a_missing_number_is_not_the_mean() -> None:
    with torch.random.fork_rng():
        encoder = woken(lambda: NumberEncoder(2, WIDTH))
    mean, one, none = encoder(torch.tensor([[0.0, 0.0], [0.0, torch.nan], [torch.nan, torch.nan]])).detach()
    assert min(float((a - b).norm()) for a, b in ((mean, one), (mean, none), (one, none))) > 1e-3


def test_what_a_linear_map_is_told() -> None:
    tokens = TextEncoder(6, 4, WIDTH).described(torch.tensor([[4, 2, 4, 1], [5, 0, 0, 0]]))
    assert tokens.tolist() == [[0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    numbers = NumberEncoder(2, WIDTH).described(torch.tensor([[3.0, torch.nan]]))
    assert numbers.tolist() == [[1, 0, 3, 0, 9, 0]]
    vectors = VectorEncoder(4, WIDTH).described(torch.tensor([[0.5, 0.0, 0.0, -0.5]]))
    assert vectors.tolist() == [[1, 0, 0, -1]]
