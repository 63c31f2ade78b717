"""FID is given by torch-fidelity's network alone, with enough items, and what is missing is told in a line."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from driftback.errors import BadInput
from driftback.evaluation.features import inception as module
from driftback.evaluation.features.frechet import frechet_distance
from driftback.evaluation.features.inception import FILE, cached, fid_and_kid, inception
from driftback.evaluation.features.kernel import CUBIC
from driftback.evaluation.features.named import with_weights
from driftback.evaluation.metric import INSIDE, TOO_FEW, WORSE
from driftback.evaluation.permutation import splits
from driftback.evaluation.points import Points
from driftback.randomness import Rng


class Fake(nn.Module):
    """Stands for torch-fidelity's network: the same call, and the mean of each quarter as features."""

    def __init__(self, name: str, features: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features == ["2048"]
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return (nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1),)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package, inner = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    inner.FeatureExtractorInceptionV3 = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, inner.__name__, inner)
    torch.save({}, tmp_path / FILE)
    return tmp_path / FILE


def features(n: int, seed: int, d: int = 6) -> Points:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_the_network_sees_eight_bit_colours(weights: Path) -> None:
    network = with_weights(weights).make(torch.zeros(1, 1, 4, 4))
    grey = torch.full((2, 1, 4, 4), -1.0)
    grey[1] = 1.0
    assert network(grey).tolist() == [[0.0] * 12, [255.0] * 12]
    assert torch.equal(network(grey.repeat(1, 4, 1, 1)), network(grey))


def test_fid_is_the_distance_in_all_dimensions_and_kid_that_of_the_features_as_they_are() -> None:
    x, y, z = features(60, 1), features(80, 2), features(70, 3)
    fid, kid = fid_and_kid(x, y, z, of="Inception", rng=Rng(0))
    assert (fid.name, kid.name) == ("FID (Inception features)", "KID (Inception features)")
    assert fid.value == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert kid.value == pytest.approx(CUBIC(np.concatenate([x, y]), splits(60, 80, Rng(0).generator(), shuffles=1))[0])
    assert fid.verdict == INSIDE
    assert "permutation p" in kid.verdict
    worse = fid_and_kid(1.5 * x, y, z, of="Inception", rng=Rng(0))[0]
    assert worse.verdict == WORSE
    assert None not in (worse.low, worse.high, worse.floor_low, worse.floor_high)


def test_fewer_items_than_features_give_no_fid() -> None:
    fid, kid = fid_and_kid(features(6, 1), features(80, 2), None, of="Inception", rng=Rng(0))
    assert fid.value is None
    assert fid.verdict == f"{TOO_FEW}: 6, of at least 7; KID has no bias"
    assert kid.value is not None


def test_the_band_holds_a_further_pair_95_times_in_100() -> None:
    hits = 0
    for s in range(400):
        values = np.random.default_rng(s).standard_normal(6)
        low, high = module._band(values[:5])
        hits += low <= values[5] <= high
    # Of 400 at 95 %: 4 standard errors are 17.
    assert abs(hits - 380) < 18


def test_what_is_missing_is_told(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"none\.pth is not there; nothing is downloaded"):
        inception(tmp_path / "none.pth")
    torch.save({"a": Path("x")}, tmp_path / "program.pth")
    with pytest.raises(BadInput, match="holds no weights that can be read as data"):
        inception(tmp_path / "program.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="other weights than Inception's"):
        inception(tmp_path / "other.pth")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(BadInput, match=r"torch-fidelity, which cannot be imported .*pip install torch-fidelity"):
        inception(weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert cached() == tmp_path / "home" / "hub" / "checkpoints" / FILE
    with pytest.raises(BadInput, match="is not there"):
        inception()
