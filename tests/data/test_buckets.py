"""Buckets: which shapes there are, which picture goes where, and where its pixels land, to the pixel.

What is read of folders holds for those in memory and for those that are kept decoded on the disk.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from driftback import data
from driftback.data import cache, decoding, pictures
from driftback.data.buckets import ASPECTS, Buckets, chosen, middle, nearest, shapes_of
from driftback.data.preprocessing import Preprocessing
from driftback.data.reader import Alike
from driftback.data.rows import Rows
from driftback.data.writers import write
from driftback.errors import BadInput

RNG = np.random.default_rng(0)
THREE = Buckets(shapes=((12, 20), (16, 16), (20, 12)), ground=7)


@pytest.fixture(autouse=True, params=["in memory", "on the disk"])
def place(request, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    if request.param == "on the disk":
        monkeypatch.setattr(pictures, "IN_MEMORY", -1)


def load(folder, **options):
    """The pictures as an array; those that were decoded now and those found again are the same, in the same buckets."""
    found, again = (data.load(folder, **({"aspect": "bucket"} | options)) for _ in range(2))
    assert isinstance(found.x, Rows) == (pictures.IN_MEMORY < 0)
    np.testing.assert_array_equal(found.x[:], again.x[:])
    np.testing.assert_array_equal(found.bucket, again.bucket)
    assert (found.findings, found.buckets) == (again.findings, again.buckets)
    return replace(found, x=found.x[:])


def save(folder, name, pixels):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


def steps(height, width):
    """Each column is 10 brighter than the one to its left."""
    return np.broadcast_to(10 * np.arange(width, dtype=np.uint8), (height, width)).copy()


def test_the_shapes_of_an_area_are_multiples_of_four_and_each_other_turned():
    assert shapes_of(32 * 32) == ((24, 44), (28, 40), (28, 36), (32, 32), (36, 28), (40, 28), (44, 24))
    assert shapes_of(16 * 16) == ((12, 24), (12, 20), (16, 16), (20, 12), (24, 12))
    assert shapes_of(8 * 8) == ((4, 12), (8, 8), (12, 4))
    assert shapes_of(1) == ((4, 4),)
    for side in (64, 128, 256):
        found = shapes_of(side**2)
        assert set(found) == {(w, h) for h, w in found}
        assert all(h % 4 == w % 4 == 0 for h, w in found)
        assert max(abs(h * w / side**2 - 1) for h, w in found) < 0.07
        assert max(abs(np.log(h / w / a)) for (h, w), a in zip(found, ASPECTS, strict=True)) < 0.1


def test_a_picture_goes_to_the_nearest_log_aspect():
    # Half way between 1:2 and 1:1 is 1:sqrt(2), 0.707, where the mean of the aspects is 0.75.
    shapes = ((8, 16), (8, 8))
    assert nearest(shapes, [(70, 100), (72, 100), (100, 100), (1, 1000), (1000, 1)]).tolist() == [0, 1, 1, 0, 1]


def test_a_bucket_has_eight_pictures_and_a_hundredth_of_them_and_there_are_five():
    few = Counter({(30, 40): 7, (40, 30): 8, (40, 40): 20})
    assert chosen(few, 1024) == ((32, 32), (36, 28))
    assert Buckets(shapes=chosen(few, 1024)).nearest([(30, 40), (40, 30), (40, 40)]).tolist() == [0, 1, 0]
    assert chosen(Counter({(40, 40): 991, (80, 40): 9}), 1024) == ((32, 32),)
    assert chosen(Counter({(40, 40): 990, (80, 40): 10}), 1024) == ((32, 32), (44, 24))
    many = Counter({(int(60 * a), 60): 20 + k for k, a in enumerate(ASPECTS)})
    assert chosen(many, 1024) == shapes_of(1024)[2:]
    assert chosen(Counter({(40, 40): 7}), 1024) == ()


def test_a_part_stands_in_the_middle():
    assert THREE.canvas == (20, 20)
    assert middle((20, 20), (12, 20)) == (slice(4, 16), slice(0, 20))
    assert middle((20, 20), (16, 16)) == (slice(2, 18), slice(2, 18))


@pytest.mark.parametrize("event", [(20, 20), (20, 20, 3)])
def test_what_is_outside_is_painted_and_what_is_inside_is_found_again(event):
    x = RNG.integers(8, 256, (6, *event)).astype(np.uint8)
    bucket = np.array([2, 0, 1, 1, 0, 2])
    painted = THREE.painted(x, bucket)
    for before, after, k in zip(x, painted, bucket, strict=True):
        rows, columns = middle((20, 20), THREE.shapes[k])
        np.testing.assert_array_equal(after[rows, columns], before[rows, columns])
        inside = np.zeros(event, bool)
        inside[rows, columns] = True
        assert (after[~inside] == 7).all()
    np.testing.assert_array_equal(THREE.seen(painted), bucket)
    assert (THREE.painted(x, bucket, 255)[0][:, :4] == 255).all()
    with pytest.raises(BadInput, match=r"item 3 is in no bucket: outside of each of 12x20, 16x16, 20x12 .* from 7$"):
        THREE.seen(np.concatenate([painted[:3], x[3:]]))
    # What suits several is in the smallest.
    assert THREE.seen(np.full((1, *event), 7, np.uint8)).tolist() in ([0], [2])


def test_the_network_is_told_a_one():
    told = THREE.told(np.array([2, 0]))
    assert torch.equal(told, torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))


def test_buckets_go_through_json_and_two_alike_are_refused():
    assert Buckets.model_validate_json(THREE.model_dump_json()) == THREE
    with pytest.raises(ValidationError, match="two buckets have one shape"):
        Buckets(shapes=((4, 8), (4, 8)))


def test_pictures_land_where_they_should(tmp_path):
    for k in range(8):
        save(tmp_path, f"a{k}.png", steps(20, 12))
        save(tmp_path, f"b{k}.png", steps(12, 20))
    # Too few of its own shape, and nearest to 20 x 12: it keeps its height, and loses two columns on either side.
    save(tmp_path, "c.png", steps(20, 16))
    # Twice as large: its columns are brighter by 5, and two of them become one.
    save(tmp_path, "d.png", (steps(40, 24) // 2).astype(np.uint8))
    dataset = load(tmp_path, size=16)
    assert dataset.buckets == Buckets(shapes=((12, 20), (20, 12)))
    assert dataset.x.shape == (18, 20, 20)
    assert dataset.bucket.tolist() == [1] * 8 + [0] * 8 + [1, 1]
    tall, broad, cut, half = dataset.x[[0, 8, 16, 17]]
    np.testing.assert_array_equal(tall[:, 4:16], steps(20, 12))
    np.testing.assert_array_equal(broad[4:16], steps(12, 20))
    np.testing.assert_array_equal(cut[:, 4:16], steps(20, 16)[:, 2:14])
    inner = half[:, 5:15].astype(float)
    assert np.abs(inner - (10 * np.arange(1, 11) + 2.5)).max() <= 2
    for x, k in zip(dataset.x, dataset.bucket, strict=True):
        outside = np.ones((20, 20), bool)
        outside[middle((20, 20), dataset.buckets.shapes[k])] = False
        assert not x[outside].any()
    assert dataset.shapes.tolist()[0] == [20, 12]
    some = dataset.take(np.array([17, 8]))
    assert (some.bucket.tolist(), some.shapes.tolist()) == ([1, 0], [[20, 12], [12, 20]])
    assert Preprocessing.fit(dataset).buckets == dataset.buckets


def test_blocks_have_the_buckets_of_their_own_files(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 3 * 20 * 20)
    shapes = [((20, 12), (12, 20))[k] for k in RNG.permutation(20) % 2]
    for k, shape in enumerate(shapes):
        save(tmp_path, f"{k:02d}.png", steps(*shape) + 1)
    raw = (tmp_path / "05.png").read_bytes()
    (tmp_path / "05.png").write_bytes(raw[:50] + b"\0\0\0" + raw[53:])  # its head is whole, its pixels are not
    dataset = load(tmp_path, size=16)
    kept = shapes[:5] + shapes[6:]
    assert [tuple(shape) for shape in dataset.shapes] == kept
    for x, shape in zip(dataset.x, kept, strict=True):
        np.testing.assert_array_equal(x[middle((20, 20), shape)], steps(*shape) + 1)


def test_buckets_are_those_of_the_pictures_that_are_kept(tmp_path):
    """Squares have no line, one broad picture is broken, and of nine tall ones two are: seven are too few."""
    shapes, lines = {"a": (20, 12), "b": (12, 20), "c": (16, 16), "d": (20, 16)}, ["file_name,text"]
    for name, count in {"a": 9, "b": 12, "c": 30, "d": 10}.items():
        for k in range(count):
            save(tmp_path, f"{name}{k:02d}.png", steps(*shapes[name]))
            lines += [f"{name}{k:02d}.png,{name}"] * (name != "c")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    for spoilt in ("a03", "b05", "a08"):
        raw = (tmp_path / f"{spoilt}.png").read_bytes()
        (tmp_path / f"{spoilt}.png").write_bytes(raw[:50] + b"\0\0\0" + raw[53:])
    (tmp_path / "b07.png").write_bytes(b"no picture")
    dataset = load(tmp_path, size=32)
    assert dataset.buckets.shapes == ((24, 44), (36, 28))
    assert dataset.captions == tuple("a" * 7 + "b" * 10 + "d" * 10)
    assert dataset.bucket.tolist() == [1] * 7 + [0] * 10 + [1] * 10
    told = {found.what.partition(":")[0].partition(" (")[0]: found for found in dataset.findings}
    assert "buckets, 10 of 24 x 44, 17 of 36 x 28;" in told["sizes"].what
    assert told["sizes"].count == told["smaller than their bucket"].count == len(dataset) == 27
    assert told["files that cannot be decoded are left out"].files == ("b07.png", "a03.png", "a08.png", "b05.png")
    assert told["pictures have no line in the metadata"].count == 30


def test_what_is_cut_is_told_beside_what_a_crop_would_cut(tmp_path):
    for k in range(10):
        save(tmp_path, f"a{k}.png", steps(20, 12))
        save(tmp_path, f"b{k}.png", steps(12, 20))
    note = next(f for f in load(tmp_path, size=16).findings if "buckets" in f.what)
    assert (note.level, note.count) == ("note", 20)
    assert note.what == (
        "sizes (height x width) 10 of 20 x 12, 10 of 12 x 20: buckets, 10 of 12 x 20, 10 of 20 x 12; cropped to them "
        "0% of the area is lost on average, cropped to 16 x 16 it would be 40%; in the middle of a canvas of 20 x 20, "
        "40% of which is black"
    )
    small = next(f for f in load(tmp_path, size=32).findings if "enlarged" in f.what)
    assert (small.level, small.count, small.files[0]) == ("warning", 20, "a0.png")
    # Without a size it is that of the square that would be proposed: 20 and 12 pixels bear none of the usual sides.
    assert load(tmp_path).x.shape[1:] == load(tmp_path, size=32).x.shape[1:]


def test_the_ground_is_white_where_alpha_is_flattened_on_white(tmp_path):
    for k in range(8):
        for name, shape in (("a", (20, 12, 4)), ("b", (12, 20, 4))):
            pixels = np.full(shape, 90, np.uint8)
            pixels[0, 0, 3] = 0
            save(tmp_path, f"{name}{k}.png", pixels)
    flat, clear = load(tmp_path, size=16), load(tmp_path, size=16, channels=4)
    assert (flat.buckets.ground, clear.buckets.ground) == (255, 0)
    assert (flat.x[0, :, :4] == 255).all()
    assert not clear.x[0, :, :4].any()
    for k in range(20):
        save(tmp_path, f"c{k}.png", np.full((16, 16, 3), 90, np.uint8))
    assert load(tmp_path, size=16).buckets.ground == 0


def test_one_shape_and_too_few_pictures_are_refused(tmp_path):
    for k in range(9):
        save(tmp_path, f"a{k}.png", steps(20, 12))
    with pytest.raises(BadInput, match=r"only 20 x 12 .* has the 8 pictures .* one bucket does nothing: use"):
        data.load(tmp_path, size=16, aspect="bucket")
    for k in range(2, 9):
        (tmp_path / f"a{k}.png").unlink()
    with pytest.raises(BadInput, match=r"no shape has the 8 pictures of .* \(and 1% of them\) that a bucket needs"):
        data.load(tmp_path, size=16, aspect="bucket")


def test_arrays_have_no_buckets(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 8, 8), np.uint8))
    for source in (tmp_path / "x.npy", np.zeros((20, 8, 8))):
        with pytest.raises(BadInput, match=r"aspect \(bucket\) has no meaning for a"):
            data.load(source, aspect="bucket")


def test_pictures_go_to_the_buckets_that_a_model_knows(tmp_path):
    for k in range(3):
        save(tmp_path, f"a{k}.png", steps(14, 16))
    alike = Alike(buckets=Buckets(shapes=((12, 20), (20, 12)), ground=9))
    for options in ({"aspect": "bucket"}, {"aspect": None}, {"aspect": "bucket", "size": 16}):
        dataset = load(tmp_path, alike=alike, **options)
        assert (dataset.buckets, dataset.bucket.tolist()) == (alike.buckets, [0, 0, 0])
        assert (dataset.x[:, :4] == 9).all()
    other = load(tmp_path, alike=replace(alike, buckets=THREE))
    assert (other.bucket.tolist(), int(other.x[0, 0, 0])) == ([1, 1, 1], 7)


def test_buckets_are_part_of_what_a_set_is_called(tmp_path, monkeypatch):
    for k in range(8):
        save(tmp_path, f"a{k}.png", steps(20, 12))
        save(tmp_path, f"b{k}.png", steps(12, 20))
    names, key = [], cache.key
    monkeypatch.setattr(cache, "key", lambda *what: names.append(key(*what)) or names[-1])
    known = [Alike(buckets=replaced) for replaced in (THREE, THREE.model_copy(update={"ground": 0}))]
    for options in ({}, {"aspect": "crop"}, *({"alike": alike} for alike in known)):
        data.load(tmp_path, **({"size": 16, "aspect": "bucket"} | options))
    assert len(set(names)) == 4


def test_a_damaged_preprocessing_is_seen():
    record = Preprocessing.fit(data.load(RNG.integers(0, 256, (20, 20, 16)).astype(np.uint8))).model_dump()
    with pytest.raises(ValidationError, match="buckets cannot be"):
        Preprocessing.model_validate(record | {"buckets": THREE.model_dump()})


def test_pictures_are_written_in_their_shapes(tmp_path):
    bucket = np.array([0, 2, 1])
    x = THREE.painted(RNG.integers(8, 256, (3, 20, 20)).astype(np.uint8), bucket)
    shapes = np.array(THREE.shapes)[bucket]
    for k, path in enumerate(sorted(write(x, tmp_path / "folder", shapes=shapes).iterdir())):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), x[k][middle((20, 20), THREE.shapes[bucket[k]])])
    with np.load(write(x, tmp_path / "x.npz", shapes=shapes)) as kept:
        np.testing.assert_array_equal(kept["x"], x)
        np.testing.assert_array_equal(kept["shape"], [[12, 20], [20, 12], [16, 16]])
    sheet = np.asarray(Image.open(write(x, tmp_path / "x.png", shapes=shapes)))
    np.testing.assert_array_equal(sheet[5:17, 1:21], x[0][4:16])
    assert (sheet[1:5, 1:21] == 255).all()
    with pytest.raises(BadInput, match=r"shapes of shape \(2, 2\) for 3 items"):
        write(x, tmp_path / "y.npz", shapes=shapes[:2])
