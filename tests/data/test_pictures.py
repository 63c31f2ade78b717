"""Folders as they are found on disks: every file is read, or left out, counted and named; nothing ends in a
traceback. All of it holds for folders that are held in memory and for those that are kept decoded on the disk.
"""

import os
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from driftback import data
from driftback.data import pictures
from driftback.data.picture import DONE
from driftback.data.rows import Rows
from driftback.errors import BadInput

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 12)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (10, 12, 3)).astype(np.uint8)


@pytest.fixture(autouse=True, params=["in memory", "on the disk"])
def place(request, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    if request.param == "on the disk":
        monkeypatch.setattr(pictures, "IN_MEMORY", -1)


def load(folder, **options):
    """The pictures as an array; on the disk, those that were decoded now and those found there again are the same."""
    found, again = (data.load(folder, **options) for _ in range(2))
    assert isinstance(found.x, Rows) == (pictures.IN_MEMORY < 0)
    np.testing.assert_array_equal(found.x[:], again.x[:])
    assert found.findings == again.findings
    return replace(found, x=found.x[:])


def _save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def _found(dataset, words):
    return next(f for f in dataset.findings if words in f.what)


def test_grey_stays_one_channel_and_colour_three(tmp_path):
    for k in range(3):
        _save(tmp_path / f"{k}.png", np.roll(GREY, k))
    grey = load(tmp_path)
    assert (grey.kind, grey.x.dtype, grey.value_range) == ("pictures", np.uint8, (0.0, 255.0))
    np.testing.assert_array_equal(grey.x, [np.roll(GREY, k) for k in range(3)])
    _save(tmp_path / "3.png", COLOUR)
    mixed = load(tmp_path)
    assert mixed.x.shape == (4, 10, 12, 3)
    np.testing.assert_array_equal(mixed.x[0], GREY[..., None].repeat(3, -1))
    np.testing.assert_array_equal(mixed.x[3], COLOUR)
    assert _found(mixed, "mixed colour modes: 3 L, 1 RGB").count == 4
    assert load(tmp_path, channels=1).x.shape == (4, 10, 12)


def test_files_come_in_the_order_of_their_names(tmp_path):
    for k in RNG.permutation(40):
        _save(tmp_path / f"{k:03d}.png", np.full((4, 4), k, np.uint8))
    np.testing.assert_array_equal(load(tmp_path).x[:, 0, 0], np.arange(40))


def test_sub_folders_are_classes(tmp_path):
    for k, name in enumerate(["cats/a.png", "cats/deep/b.png", "hünde/c.png"]):
        _save(tmp_path / name, np.full((4, 4), k, np.uint8))
    dataset = load(tmp_path)
    assert dataset.classes == ("cats", "hünde")
    assert dataset.y.tolist() == [0, 0, 1]
    _save(tmp_path / "loose.png", GREY[:4, :4])
    loose = load(tmp_path)
    assert loose.y is None
    assert _found(loose, "beside sub-folders").level == "warning"


def test_alpha_is_flattened_on_white_or_kept(tmp_path):
    pixels = np.dstack([COLOUR, np.full((10, 12), 255, np.uint8)])
    pixels[0, 0] = 10, 20, 30, 0
    _save(tmp_path / "a.png", pixels)
    flat = load(tmp_path)
    assert flat.x[0, 0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(flat.x[0, 1:], COLOUR[1:])
    assert _found(flat, "flattened on white").count == 1
    np.testing.assert_array_equal(load(tmp_path, channels=4).x[0], pixels)


def test_palettes_with_transparency(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(load(tmp_path).x[0, 0], [[255, 255, 255], [0, 0, 255]])


def test_sixteen_bits_are_reduced(tmp_path):
    _save(tmp_path / "a.png", (GREY.astype(np.uint16) * 257))
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.x[0], GREY)
    assert _found(dataset, "16-bit").count == 1


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is needed
    _save(tmp_path / "a.png", GREY, exif=exif)
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.x[0], np.rot90(GREY, -1))
    assert _found(dataset, "EXIF").count == 1


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = _save(tmp_path / "a.png", GREY).read_bytes()
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(raw[:-12] + _chunk(b"eXIf", block) + raw[-12:])
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.x[0], np.rot90(GREY, -1))
    assert _found(dataset, "EXIF").count == 1


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((6, 6), k, np.uint8)) for k in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    dataset = load(tmp_path)
    assert (dataset.x == 10).all()
    assert _found(dataset, "first frame").count == 1


def test_mixed_sizes_are_refused_with_a_proposal_or_cropped(tmp_path):
    for k, shape in enumerate([(40, 40), (40, 40), (40, 80)]):
        pixels = np.zeros(shape, np.uint8)
        pixels[:, shape[1] // 2 - 20 : shape[1] // 2 + 20] = 90
        _save(tmp_path / f"{k}.png", pixels)
    with pytest.raises(
        BadInput, match=r"2 of 40 x 40, 1 of 40 x 80; choose one with --size 32 .*; up to --size 40 none is enlarged$"
    ):
        load(tmp_path)
    dataset = load(tmp_path, size=20)
    assert dataset.x.shape == (3, 20, 20)
    # The black sides are cropped away; squashed in, they would be 90 off. The filter rings by a few.
    assert np.abs(dataset.x.astype(int) - 90).max() < 10
    assert _found(dataset, "cropped about the centre").count == 3
    assert load(tmp_path, size=(20, 30)).x.shape == (3, 20, 30)
    assert _found(load(tmp_path, size=64), "enlarged").count == 3


def test_the_largest_square_that_enlarges_none_is_told(tmp_path):
    for name, shape in {"a": (50, 30), "b": (40, 60)}.items():
        _save(tmp_path / f"{name}.png", np.full(shape, 7, np.uint8))
    with pytest.raises(BadInput, match=r"up to --size 30 none is enlarged$"):
        load(tmp_path)
    assert not any("enlarged" in finding.what for finding in load(tmp_path, size=30).findings)
    assert _found(load(tmp_path, size=31), "enlarged").count == 1


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _bomb():
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", b"")


def test_files_that_cannot_be_decoded_are_left_out_counted_and_named(tmp_path):
    for k in range(5):
        good = _save(tmp_path / f"{k}.png", COLOUR)
    (tmp_path / "bomb.png").write_bytes(_bomb())
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "void.gif").write_bytes(b"")
    dataset = load(tmp_path)
    assert len(dataset) == 5
    found = _found(dataset, "cannot be decoded")
    assert (found.level, found.count) == ("warning", 4)
    assert sorted(found.files) == ["bomb.png", "cut.png", "text.jpg", "void.gif"]
    for reason in ("decompression bomb", "truncated or damaged", "no known picture format", "empty file"):
        assert reason in found.what


def test_clutter_hidden_files_and_circular_links(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "._0.png", "notes.txt", "b.jpgg"):
        (tmp_path / name).write_bytes(b"x")
    _save(tmp_path / "0.png", GREY)
    _save(tmp_path / "__MACOSX" / "1.png", GREY)
    os.symlink(tmp_path, tmp_path / "circle")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "broken.png")
    dataset = load(tmp_path)
    assert len(dataset) == 1
    assert _found(dataset, "misspelt").files == ("b.jpgg",)
    assert _found(dataset, "no pictures").files == ("notes.txt",)
    assert _found(dataset, "cannot be decoded").files == ("broken.png",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "no pictures and no other files"),
        (["a.jpgg", "b.pgn"], "but 2 files such as a.jpgg: rename them"),
        (["x.npy"], "give that file itself"),
        (["train-images-idx3-ubyte.gz"], "give that file itself"),
        (["a.txt"], "pictures end in .bmp"),
        ([".a.png"], "only 1 hidden files such as .a.png"),
        (["a.png"], "none of the 1 pictures .* a.png: empty file"),
    ],
)
def test_folders_without_pictures_say_what_lies_there(names, expected, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadInput, match=expected) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_channels_must_make_sense(tmp_path):
    _save(tmp_path / "a.png", GREY)
    with pytest.raises(BadInput, match="channels must be 1"):
        load(tmp_path, channels=2)


SIDES = np.zeros((8, 32, 3), np.uint8) + np.array([10, 200, 90], np.uint8)
SIDES[:, 11:21] = 255


@pytest.mark.parametrize(
    ("aspect", "columns"),
    [
        # 8 x 32 to 16 x 16: the middle 8 x 8 is white; the whole is 4 high in a ground of the border's colour; or all.
        ("crop", np.full((16, 3), 255)),
        ("pad", SIDES[0, ::2]),
        ("resize", SIDES[0, ::2]),
    ],
)
def test_another_aspect_is_cropped_padded_or_stretched(aspect, columns, tmp_path):
    _save(tmp_path / "a.png", SIDES)
    _save(tmp_path / "b.png", np.full((16, 16, 3), 7, np.uint8))
    dataset = load(tmp_path, size=16, aspect=aspect)
    assert (dataset.x[1] == 7).all()
    inside = [1, 2, 3, 7, 8, 12, 13, 14]  # without the edge between the colours, where the filter rings
    assert np.abs(dataset.x[0, 8, inside].astype(int) - columns[inside]).max() <= 12
    ground = dataset.x[0, [0, 5, 10, 15]]
    assert (ground == [10, 200, 90]).all() == (aspect == "pad")
    assert _found(dataset, DONE[aspect]).count == 1


def test_padding_keeps_clear_ground_clear(tmp_path):
    pixels = np.zeros((4, 8, 4), np.uint8)
    pixels[1:3, 2:6] = 255
    _save(tmp_path / "a.png", pixels)
    assert not load(tmp_path, size=8, channels=4, aspect="pad").x[0, :2].any()


def test_an_unknown_aspect_gets_a_suggestion(tmp_path):
    _save(tmp_path / "a.png", GREY)
    with pytest.raises(BadInput, match=r"no aspect 'padd' \(did you mean pad\?\)"):
        data.load(tmp_path, aspect="padd")


def test_a_size_that_is_no_square_is_proposed_where_it_loses_less(tmp_path):
    for k, shape in enumerate([(60, 40)] * 8 + [(40, 40)] * 2):
        _save(tmp_path / f"{k}.png", np.full(shape, k, np.uint8))
    with pytest.raises(
        BadInput, match=r"--size 32 .*, or --size 40x28, whose crop loses 10% of the area, not 27%; up to"
    ):
        data.load(tmp_path)
    assert load(tmp_path, size=(40, 28)).x.shape == (10, 40, 28)
    assert "loses 27% of the area" in _found(load(tmp_path, size=32), "cropped").what
    assert "loses" not in _found(load(tmp_path, size=32, aspect="pad"), "bars").what
