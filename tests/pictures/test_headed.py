"""A grid by what was asked for has each item in its column, and the words above it."""

from pathlib import Path

import numpy as np
from PIL import Image

from driftback.data.dataset import Dataset
from driftback.data.preprocessing import Preprocessing
from driftback.pictures.headed import headed


def test_items_stand_under_their_words(tmp_path: Path) -> None:
    """Item i is grey of 20 i: it is found in column i % 3, row i // 3, and every head has ink, the empty one none."""
    x = (20 * np.arange(10))[:, None, None] * np.ones((10, 8, 8), np.uint8)
    x = x.astype(np.uint8)
    prepared = Preprocessing.fit(Dataset(np.concatenate([x, 255 - x]), None, "pictures"))
    headed(x, tmp_path / "grid.png", prepared, ["a red heart in a long sentence that does not end", "", "boot"])
    image = np.asarray(Image.open(tmp_path / "grid.png").convert("L")).astype(int)
    low, high = prepared.bounds
    column, grid = image.shape[1] // 3, np.flatnonzero((image == round(20 / (high - low) * 255)).any(1))
    top = grid[0] - 1
    assert top > 20, "there is room for the words"
    side = (image.shape[0] - top) // 4
    for i in range(10):
        middle = image[top + (i // 3) * side + side // 2, (i % 3) * column + column // 2]
        assert middle == round((20 * i - low) / (high - low) * 255)
    # Nothing stands where an eleventh item would be.
    assert image[top + 3 * side + side // 2, column + column // 2] == 255
    ink = [int((image[:top, k * column : (k + 1) * column] < 128).sum()) for k in range(3)]
    assert ink[1] == 0
    assert ink[0] > 3 * ink[2] > 30
    # Words stay in their own column.
    assert (image[:top, column - 1 : column + 1] == 255).all()
