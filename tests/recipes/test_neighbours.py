"""The gallery shows copies first, then the nearest, each beside the training picture that it is nearest to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import driftback as db
from driftback.data.loading import load as load_data
from driftback.pictures.gallery import GAP, LINE, MARKED, paired
from driftback.recipes.evaluate import Evaluation, RealItems
from driftback.recipes.model import Model
from driftback.recipes.neighbours import SHOWN, neighbours, write_gallery


@pytest.fixture(scope="module")
def model() -> Model:
    return db.fit("digits", n=200, steps=1, batch=8)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    digits = load_data("digits")
    train, held, fresh = (digits.take(part) for part in (np.arange(800), np.arange(800, 1200), np.arange(1200, 1290)))
    x = fresh.x.copy()
    x[7], x[40] = train.x[123], train.x[5]
    x[40][3, 3] += 1 if x[40][3, 3] < 16 else -1
    return Evaluation((), x, None, RealItems(train, held))


def test_copies_come_first_with_what_they_are_copies_of(model: Model, found: Evaluation) -> None:
    near = neighbours(model, found)
    train = found.real.train.x
    assert np.array_equal(near.samples[:2], found.samples[[7, 40]])
    assert np.array_equal(near.nearest[:2], train[[123, 5]])
    assert near.copies[:2].all()
    assert near.words[0] == "0.00 copy"
    assert near.distance[0] == 0
    rest = near.distance[near.copies.sum() :]
    assert (np.diff(rest) >= 0).all()
    # Two training items may be equally near.
    by_hand = [np.linalg.norm((train - x).reshape(len(train), -1), axis=1).min() for x in near.samples]
    apart = np.linalg.norm((near.nearest - near.samples).reshape(len(near.samples), -1), axis=1)
    np.testing.assert_allclose(apart, by_hand)


def test_the_floor_is_what_held_out_items_have(model: Model, found: Evaluation) -> None:
    # 90 fresh digits and their floor from 400 others: half are below 1, in 30 to 70 % of cases, beyond four errors.
    share = float((neighbours(model, found).relative < 1).mean())
    assert 0.3 < share < 0.7
    # Planted fault: against the training items themselves nothing is far.
    copied = Evaluation((), found.real.train.x[:90], None, found.real)
    assert (neighbours(model, copied).relative == 0).all()
    alone = neighbours(model, Evaluation((), found.samples, None, RealItems(found.real.train, None)))
    assert 0.2 < float((alone.relative < 1).mean()) < 0.8
    same = found.real.train.take(np.zeros(30, int))
    odd = neighbours(model, Evaluation((), found.samples[:3], None, RealItems(same, None)))
    assert np.isnan(odd.relative).all()
    assert all("nan" not in words for words in odd.words)


def test_a_picture_stands_beside_its_partner(model: Model) -> None:
    left, right = np.full((3, 8, 8), 16), np.zeros((3, 8, 8), int)
    sheet = np.asarray(paired(left, right, ["0.10", "0.20", "0.30"], model.config.preprocessing, columns=2, marked=[2]))
    side = 48
    assert sheet.shape == (2 * (side + LINE + GAP) + GAP, 2 * (2 * side + 2 + GAP) + GAP, 3)
    assert (sheet[GAP : GAP + side, GAP : GAP + side] == 255).all()
    assert (sheet[GAP : GAP + side, GAP + side + 2 : GAP + 2 * side + 2] == 0).all()
    red = (sheet == MARKED).all(2)
    assert red[side + LINE + GAP :, :side].any()
    assert not red[: side + LINE].any()


def test_the_file_holds_sixty_pairs_at_most(model: Model, found: Evaluation, tmp_path: Path) -> None:
    near = write_gallery(tmp_path / "g.png", model, found)
    assert len(near.samples) == SHOWN
    with Image.open(tmp_path / "g.png") as image:
        assert image.mode == "RGB"
        assert image.height > image.width


def test_points_have_no_gallery(found: Evaluation, tmp_path: Path) -> None:
    points = db.fit("two-moons", n=60, steps=1, batch=8)
    with pytest.raises(db.BadInput, match="a gallery shows pictures"):
        write_gallery(tmp_path / "g.png", points, found)
