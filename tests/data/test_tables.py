"""Tables as people write them: every dialect reads to the same numbers, and every trap has a finding or a refusal."""

import codecs
import gzip

import numpy as np
import pandas as pd
import pytest

from driftback.data import load
from driftback.data.reader import Alike
from driftback.errors import BadInput

ROWS = [(1.5, 2.25), (-3.0, 4e-5), (0.125, 6.0), (7.75, -8.5)]


def _text(delimiter=",", decimal=".", head=True, quote="", end="\n"):
    cells = [[f"{quote}{str(v).replace('.', decimal)}{quote}" for v in row] for row in ROWS]
    return end.join(([delimiter.join(("größe", "b"))] if head else []) + [delimiter.join(row) for row in cells]) + end


DIALECTS = {
    "plain": _text().encode(),
    "no header": _text(head=False).encode(),
    "semicolons and decimal commas": _text(";", ",").encode(),
    "tabs and decimal commas": _text("\t", ",").encode(),
    "bars": _text("|").encode(),
    "blanks": _text(" ").encode(),
    "quotes": _text(quote='"').encode(),
    "byte order mark": _text().encode("utf-8-sig"),
    "utf-16": codecs.BOM_UTF16_LE + _text().encode("utf-16-le"),
    "latin-1": _text().encode("latin-1"),
    "windows lines": _text(end="\r\n").encode(),
    "old mac lines": _text(end="\r").encode(),
    "blank lines": ("\n" + _text().replace("\n", "\n\n")).encode(),
    "blanks after commas": _text(", ").encode(),
}


@pytest.mark.parametrize("raw", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_reads_the_same(raw, tmp_path):
    (tmp_path / "x.csv").write_bytes(raw)
    dataset = load(tmp_path / "x.csv")
    np.testing.assert_array_equal(dataset.x, np.array(ROWS))
    assert dataset.columns in (("größe", "b"), ("c0", "c1"))
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(raw))
    np.testing.assert_array_equal(load(tmp_path / "x.csv.gz").x, np.array(ROWS))


def _load(tmp_path, text, y=None, **options):
    (tmp_path / "x.csv").write_text(text)
    return load(tmp_path / "x.csv", y, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells where the first has 2"),
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("a,b\n1,red\n2,blue\n", r"'b' \(such as 'red', 2 different\); take the others \(--columns a\), turn them"),
        ('a,b\n"1,000",2\n', "'a' .such as '1,000'"),
        ("a,b\n1_000,2\n", "'a' .such as '1_000'"),
        ("a,b\n1,\n2,\n,3\n", "3 of the 3 rows of x.csv have missing values, most of them in column 'b'"),
        ("id\nx1\nx2\nx3\n", "not numbers.*; remove them"),
        ("\0\1\n", "no text file"),
    ],
)
def test_refusals(text, expected, tmp_path):
    with pytest.raises(BadInput, match=expected) as caught:
        _load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_the_label_column_may_hold_words(tmp_path):
    text = "a,species,b\n1,setosa,2\n3,virginica,4.5\n5,,6\n"
    dataset = _load(tmp_path, text, y="species")
    assert dataset.columns == ("a", "b")
    assert dataset.classes == ("setosa", "virginica")
    assert len(dataset) == 2  # the row without a label is left out
    with pytest.raises(BadInput, match="no column 'colour': its columns are a, species, b"):
        _load(tmp_path, text, y="colour")


def test_a_label_among_the_columns_is_told(tmp_path):
    with pytest.raises(BadInput, match="column 'b' is the label, and no column to draw: leave it out of --columns"):
        _load(tmp_path, "a,b\n1,x\n2,y\n", y="b", columns=("a", "b"))


def test_missing_values_are_left_out_and_counted(tmp_path):
    dataset = _load(tmp_path, "a,b\n1,2\n,3\n4,NA\n?,6\n7,8\n9,10\n11,12\n")
    np.testing.assert_array_equal(dataset.x, [[1, 2], [7, 8], [9, 10], [11, 12]])
    (found,) = dataset.findings
    assert (found.level, found.count) == ("warning", 3)
    assert found.what == (
        "3 of 7 rows are left out: column 'a' has missing values (2, the first in row 2); "
        "column 'b' has missing values (1, the first in row 3)"
    )


@pytest.mark.parametrize(
    "text", [",a,b\n0,1,2\n1,3,4\n2,5,7\n", "id,a,b\n7,1,2\n3,3,4\n9,5,7\n", "n,a,b\n1,1,2\n2,3,4\n3,5,7\n"]
)
def test_row_numbers_are_left_out_with_a_warning(text, tmp_path):
    dataset = _load(tmp_path, text)
    assert dataset.columns == ("a", "b")
    assert "numbers the rows" in dataset.findings[0].what
    first = text.split(",")[0]
    assert _load(tmp_path, text, columns=(first, "b")).columns == (first, "b")


def test_years_and_repeated_ids_are_data(tmp_path):
    assert _load(tmp_path, "year,a\n1990,1\n1991,3\n1992,5\n").columns == ("year", "a")
    assert _load(tmp_path, "id,a\n7,1\n7,3\n9,5\n").columns == ("id", "a")


def test_columns_are_taken_in_the_order_asked(tmp_path):
    dataset = _load(tmp_path, "a,b,c\n1,x,3\n4,y,6\n", columns=("c", "a"))
    np.testing.assert_array_equal(dataset.x, [[3, 1], [6, 4]])


def test_an_empty_column_at_the_end_is_left_out(tmp_path):
    dataset = _load(tmp_path, "1.5,2,\n3,4,\n")
    assert dataset.x.shape == (2, 2)
    assert "is empty" in dataset.findings[0].what


def test_data_frames_with_nullable_columns_and_labels():
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": pd.array([1, None, 3], dtype="Int64"), "s": ["u", "v", "u"]})
    dataset = load(frame, "s")
    np.testing.assert_array_equal(dataset.x, [[1.5, 1], [3.5, 3]])
    assert dataset.columns == ("a", "b")
    with pytest.raises(BadInput, match=r"'s' \(such as 'u'"):
        load(frame)
    with pytest.raises(BadInput, match="two columns named 'a'"):
        load(pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]))


def test_true_and_false_are_numbers_but_for_labels(tmp_path):
    text = "a,ok\n1.5,True\n2.5,false\n3.5,TRUE\n"
    dataset = _load(tmp_path, text)
    np.testing.assert_array_equal(dataset.x, [[1.5, 1], [2.5, 0], [3.5, 1]])
    assert any("read as 1 and 0" in finding.what for finding in dataset.findings)
    assert _load(tmp_path, "a,ok\n1.5,True\n2.5,False\n", y="ok").classes == ("False", "True")
    with pytest.raises(BadInput, match="--label ok"):
        _load(tmp_path, "a,ok\n1.5,True\n2.5,maybe\n")


KNOWN = Alike(("height", "weight", "kids"), "colour")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("height,weight,kids\n170,60,2\n180,80,1\n", {}),
        ("kids,colour,weight,note,height\n2,red,60,a,170\n1,blue,80,b,180\n", {}),
        ("170,60,2\n180,80,1\n", {}),
        ("kids,weight,height\n2,60,170\n1,80,180\n", {"columns": ("kids", "height", "weight")}),
        ("n,w,h\n2,60,170\n1,80,180\n", {"columns": ("h", "w", "n")}),
    ],
    ids=["same", "mixed up", "no header", "named in another order", "named otherwise"],
)
def test_columns_that_a_model_knows_are_matched_by_name(tmp_path, text, options):
    dataset = _load(tmp_path, text, alike=KNOWN, **options)
    np.testing.assert_array_equal(dataset.x, [[170, 60, 2], [180, 80, 1]])
    assert dataset.classes == (("blue", "red") if "colour" in text else ())


def test_columns_that_a_model_misses_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"x.csv lacks the columns 'weight', 'kids', .* its columns are height, mass"):
        _load(tmp_path, "height,mass\n1,2\n3,4\n", alike=KNOWN)
    with pytest.raises(BadInput, match="two-moons lacks the columns 'height'"):
        load("two-moons", n=20, alike=KNOWN)
    # Data without names of its own counts in its order, and so does a model without names.
    assert load(np.eye(3), alike=KNOWN).columns == ()
    assert _load(tmp_path, "a,b\n1,2\n3,4\n", alike=Alike(("c0", "c1"))).columns == ("a", "b")
