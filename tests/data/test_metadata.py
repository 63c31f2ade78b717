"""Metadata beside pictures: every line is read, or left out, counted and named."""

import csv
import importlib.util
import json
import sys

import numpy as np
import pytest
from PIL import Image

from driftback.data import load, metadata, pictures
from driftback.data.annotations import annotated
from driftback.data.reader import Options
from driftback.data.rows import Rows
from driftback.errors import BadInput

NAMES = ["a.png", "b.png", "c.png", "sub/d.png"]
LINES = [
    {"file_name": "b.png", "text": "a blue, round thing", "kind": "round", "age": 3},
    {"file_name": "a.png", "text": "ein rötliches Ding", "kind": "square", "age": 1.5},
    {"file_name": "sub/d.png", "text": "four", "kind": "round", "age": 4},
    {"file_name": "c.png", "text": "three", "kind": "square", "age": -2},
]
TEXTS = ("ein rötliches Ding", "a blue, round thing", "three", "four")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for k, name in enumerate(NAMES):
        Image.fromarray(np.full((4, 4), 10 * k, np.uint8)).save(tmp_path / name)
    return tmp_path


def _jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _csv(path, lines, delimiter=","):
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(lines[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(lines)


def _semicolons(path, lines):
    _csv(path, lines, ";")


def _parquet(path, lines):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(lines), path)


WRITTEN = {
    "jsonl": ("metadata.jsonl", _jsonl),
    "csv": ("metadata.csv", _csv),
    "semicolons": ("metadata.csv", _semicolons),
    "parquet": ("metadata.parquet", _parquet),
}


def _found(dataset, words):
    return next(f for f in dataset.findings if words in f.what)


@pytest.mark.parametrize(("name", "write"), WRITTEN.values(), ids=WRITTEN)
def test_captions_classes_and_numbers_belong_to_their_pictures(name, write, folder):
    write(folder / name, LINES)
    dataset = load(folder, "kind", caption="text", numbers=("age",))
    assert dataset.x[:, 0, 0].tolist() == [0, 10, 20, 30]
    assert dataset.captions == TEXTS
    assert [dataset.classes[k] for k in dataset.y] == ["square", "round", "square", "round"]
    assert dataset.number_names == ("age",)
    assert dataset.numbers.dtype == np.float64
    assert dataset.numbers[:, 0].tolist() == [1.5, 3, -2, 4]
    some = dataset.take(np.array([3, 0]))
    assert some.captions == ("four", TEXTS[0])
    assert some.numbers[:, 0].tolist() == [4, 1.5]
    assert [dataset.classes[k] for k in some.y] == ["round", "square"]
    assert not [f for f in dataset.findings if f.level == "warning"]
    assert load(folder, n=2, seed=1).captions == tuple(TEXTS[i] for i in load(folder, n=2, seed=1).x[:, 0, 0] // 10)


def test_metadata_in_sub_folders_name_files_beside_them(folder):
    _jsonl(folder / "metadata.jsonl", [LINES[0], LINES[1], LINES[3]])
    _csv(folder / "sub" / "metadata.csv", [{"file_name": "d.png", "text": "four"}])
    assert load(folder).captions == TEXTS


def test_parts_of_a_data_set_are_no_classes(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / part / "a.png")
    assert load(tmp_path).classes == ("test", "train")
    for part in ("train", "test"):
        _jsonl(tmp_path / part / "metadata.jsonl", [{"file_name": "a.png", "text": part}])
    dataset = load(tmp_path)
    assert dataset.y is None
    assert dataset.captions == ("test", "train")


def test_what_is_read_where_nothing_is_named(folder):
    _jsonl(folder / "metadata.jsonl", LINES)
    # Who names classes or numbers does not ask for captions, beside which neither can be learned.
    assert load(folder, "kind").captions is None
    assert load(folder, numbers=("age",)).captions is None
    assert load(folder).captions == TEXTS
    _jsonl(folder / "metadata.jsonl", [{"file_name": n, "caption": n, "label": k % 2} for k, n in enumerate(NAMES)])
    dataset = load(folder)
    assert dataset.captions == tuple(NAMES)
    assert dataset.y.tolist() == [0, 1, 0, 1]
    assert _found(dataset, "captions are read from the column 'caption'").level == "note"
    _jsonl(folder / "metadata.jsonl", [{"file_name": n, "what": n} for n in NAMES])
    assert load(folder).captions is None
    assert load(folder, caption="what").captions == tuple(NAMES)


def test_sub_folders_stay_the_classes_where_no_column_is_named(tmp_path):
    for k, name in enumerate(["cats", "dogs"]):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), k, np.uint8)).save(tmp_path / name / "a.png")
    lines = [{"file_name": f"{name}/a.png", "label": "x", "text": name} for name in ("dogs", "cats")]
    _jsonl(tmp_path / "metadata.jsonl", lines)
    dataset = load(tmp_path)
    assert (dataset.classes, dataset.captions) == (("cats", "dogs"), ("cats", "dogs"))
    assert load(tmp_path, "label").classes == ("x",)


TROUBLE = """{"file_name": "a.png", "text": "one", "age": "old"}
{"file_name": "b.png", "text": ""
[1, 2]
{"text": "no name"}
{"file_name": "B.png", "text": "two", "age": 1}
{"file_name": "a.png", "text": "again", "age": 1}

{"file_name": "c.png", "text": null, "age": 2}
{"file_name": "sub/../sub/d.png", "text": "four", "age": 2}
"""


def test_lines_of_no_use_are_counted_and_named(folder):
    (folder / "metadata.jsonl").write_text(TROUBLE)
    dataset = load(folder)
    assert dataset.captions == ("one", "four")
    assert dataset.x[:, 0, 0].tolist() == [0, 30]
    expected = {
        "cannot be read": ("metadata.jsonl line 2", "metadata.jsonl line 3", "metadata.jsonl line 4"),
        "not there": ("metadata.jsonl line 5: B.png (did you mean b.png?)",),
        "name a file again": ("metadata.jsonl line 6: a.png",),
        "have no line": ("b.png",),
        "have no 'text'": ("c.png",),
    }
    for words, files in expected.items():
        found = _found(dataset, words)
        assert (found.level, found.count, found.files) == ("warning", len(files), files)
    # Of a picture that lacks a number nothing is learned either.
    assert load(folder, caption="text", numbers=("age",)).captions == ("four",)
    # The pictures that are left are the right ones when they stay on the disk, too.
    assert load(folder, size=4).x.tolist() == dataset.x.tolist()


def test_what_is_said_belongs_to_the_pictures_that_are_kept(folder):
    (folder / "metadata.jsonl").write_text(TROUBLE)
    lines = metadata.read(folder, [folder / "metadata.jsonl"], [folder / name for name in NAMES])
    said = annotated(NAMES, lines, Options(), "x", labelled=False)
    assert said.keep.tolist() == [True, False, False, True]
    assert said.captions == ("one", "four")


def test_pictures_on_the_disk_are_left_out_alike(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.with_name("cache")))
    (folder / "metadata.jsonl").write_text(TROUBLE)
    expected = load(folder)
    monkeypatch.setattr(pictures, "IN_MEMORY", -1)
    monkeypatch.setattr("driftback.data.rows.SMALL", 0)
    for _ in range(2):
        dataset = load(folder)
        assert isinstance(dataset.x, Rows)
        np.testing.assert_array_equal(dataset.x[:], expected.x)
        assert dataset.captions == expected.captions


@pytest.mark.parametrize(
    ("name", "text", "options", "expected"),
    [
        ("metadata.csv", "file_name,text\na.png,x\n", {"y": "kind"}, "have no column 'kind'; choose one of text"),
        ("metadata.csv", "file_name,text\na.png,x\n", {"caption": "txet"}, "'txet' (did you mean text?)"),
        ("metadata.csv", "file_name,text\na.png,x\n", {"numbers": ("age",)}, "have no column 'age'"),
        ("metadata.csv", "file_name,text\na.png,x\n", {"numbers": ("text",)}, "holds no numbers (such as 'x')"),
        (
            "metadata.csv",
            "filename,text\na.png,x\n",
            {"caption": "text"},
            "no column file_name (it has filename, text)",
        ),
        ("metadata.csv", "filename,text\na.png,x\n", {"caption": "text"}, "rename 'filename'"),
        ("metadata.csv", "", {"caption": "text"}, "no column file_name (it has none)"),
        ("metadata.csv", "file_name,text\nx/aa.png,x\n", {}, "no line of the metadata names a picture"),
        ("metadata.csv", "file_name,text\nx/a.png,x\n", {}, "did you mean a.png?"),
        ("metadata.csv", "file_name,text\na.png,\n", {}, "no picture of"),
        ("metadata.jsonl", '{"text": 1}\n', {"caption": "text"}, "no column file_name"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": "x"}\n{"file_name": "b.png", "age": "old"}\n',
            {"numbers": ("age",)},
            "holds no numbers (such as 'old')",
        ),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "age": 1' + 400 * "0" + "}\n",
            {"numbers": ("age",)},
            "holds no numbers",
        ),
        ("metadata.parquet", "PAR1", {"caption": "text"}, "metadata.parquet"),
        ("notes.txt", "", {"caption": "text"}, "put a metadata.csv or metadata.jsonl beside them"),
    ],
)
def test_what_is_asked_for_and_not_there_is_refused_in_one_line(name, text, options, expected, folder):
    (folder / name).write_text(text)
    with pytest.raises(BadInput) as caught:
        load(folder, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_captions_of_several_lines_are_one_sentence(folder):
    _csv(folder / "metadata.csv", [{"file_name": name, "text": "two\nlines  apart"} for name in NAMES])
    assert set(load(folder).captions) == {"two lines apart"}


def test_metadata_that_cannot_be_read_cost_nothing_that_was_not_asked_for(folder):
    (folder / "metadata.csv").write_text("filename,text\na.png,x\n")
    dataset = load(folder)
    assert (len(dataset), dataset.captions) == (4, None)
    assert _found(dataset, "no column file_name").files == ("metadata.csv",)


def test_misspelt_metadata_are_noticed(folder):
    _csv(folder / "metdata.csv", LINES)
    assert _found(load(folder), "rename them to metadata.csv").files == ("metdata.csv",)


def test_parquet_without_its_reader_says_what_to_install(folder, monkeypatch):
    (folder / "metadata.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=r"needs pyarrow: pip install 'driftback\[table\]'"):
        load(folder, caption="text")
    assert len(load(folder)) == 4


def test_a_damaged_parquet_file_is_one_line(folder):
    if importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    (folder / "metadata.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(BadInput, match=r"cannot read .*metadata\.parquet"):
        load(folder, caption="text")


def test_arrays_beside_pictures(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    texts, kinds, ages = np.array(list("abcde")), np.array(list("xyxyx")), np.arange(5)
    np.savez(tmp_path / "e.npz", x=x, t=texts, c=kinds, age=ages, bad=np.array([1, np.nan, 1, 1, 1]))
    dataset = load(tmp_path / "e.npz", "c", caption="t", numbers=("age",))
    assert dataset.captions == tuple("abcde")
    assert (dataset.classes, dataset.y.tolist()) == (("x", "y"), [0, 1, 0, 1, 0])
    assert (dataset.numbers[:, 0].tolist(), dataset.number_names) == (list(range(5)), ("age",))
    assert load(tmp_path / "e.npz").captions is None
    for options, words in (
        ({"caption": "u"}, "nothing named u: it holds x"),
        ({"caption": "age"}, "must be sentences, not int64"),
        ({"numbers": ("t",)}, "must be numbers, not <U1"),
    ):
        with pytest.raises(BadInput, match=words):
            load(tmp_path / "e.npz", **options)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(BadInput, match=r"has no captions 't'"):
        load(tmp_path / "x.npy", caption="t")
