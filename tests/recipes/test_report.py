"""The report is one file that needs nothing else, shows what it says, and says what was measured."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftback.evaluation.metric import Metric
from driftback.recipes.evaluate import BITS, Evaluation, evaluate, original, recorded_bits
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare
from driftback.recipes.report import MEANINGS, write_report

ALLOWED = ("data:image/png;base64,", "data:image/svg+xml;base64,")


class Page(HTMLParser):
    """What a page shows and asks for: its text, its images, and every address that would leave it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.images, self.outside, self.tags = "", [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(given)
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in given and not given[name].startswith(ALLOWED):
                self.outside.append(given[name])

    def handle_data(self, data) -> None:
        self.text += data


def faults(text: str) -> list[str]:
    """Why a page is not one offline file that anybody can read."""
    page = Page(text)
    found = [f"leads outside: {address}" for address in page.outside]
    found += [f"{word} in the page" for word in ("http:", "https:", "@import", "url(", "//cdn") if word in text]
    found += [f"<{tag}>" for tag in ("script", "link", "iframe", "object") if tag in page.tags]
    found += ["an image without words" for image in page.images if len(image.get("alt") or "") < 10]
    for image in page.images if not page.outside else ():
        kind, _, code = image["src"].partition(";base64,")
        content = base64.b64decode(code, validate=True)
        if kind.endswith("svg+xml"):
            found += [] if content.rstrip().endswith(b"</svg>") else ["a cut drawing"]
        else:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                found += ["an empty image"] if np.ptp(np.asarray(picture.convert("L"))) == 0 else []
    return found


def judged(folder: Path, source: str, **options) -> tuple[Model, Evaluation, str, Path]:
    job = prepare(source, out=folder, **options)
    for _ in job.run():
        pass
    model, _ = job.finish()
    found = evaluate(model, original(model.config), n=64)
    bits = recorded_bits(folder)
    found = Evaluation(found.metrics + (() if bits is None else (bits,)), found.samples, found.labels, found.real)
    return model, found, write_report(folder, model, found).read_text(encoding="utf-8"), folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("report") / "digits", "digits", n=150, batch=8, steps=1)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("report") / "two moons", "two-moons", n=300, batch=64, steps=2)


@pytest.fixture(params=["digits", "moons"])
def case(request):
    return request.getfixturevalue(request.param)


def test_it_is_one_offline_file(case) -> None:
    assert faults(case[2]) == []


@pytest.mark.parametrize(
    "fault",
    [
        '<img src="https://x.org/a.png" alt="a picture of something">',
        '<link rel="stylesheet" href="style.css">',
        "<script>1</script>",
        "<style>@import 'x.css'</style>",
        '<img src="data:image/svg+xml;base64,PHN2Zz4=" alt="a drawing that was cut">',
    ],
)
def test_a_page_that_leans_on_another_is_seen(moons, fault) -> None:
    assert faults(moons[2].replace("</main>", f"{fault}</main>"))


def test_it_tells_every_number(case) -> None:
    _, found, text, _ = case
    shown = Page(text).text
    for metric in found.metrics:
        for number in (metric.value, metric.low, metric.high, metric.floor_low, metric.floor_high):
            assert number is None or f"{number:.3g}" in shown
        assert metric.name in shown
        assert metric.verdict in shown


def test_a_number_that_changes_changes_the_page(moons) -> None:
    model, found, text, folder = moons
    odd = Metric("energy distance", 123.4, 111.1, 135.7, 0.1, 0.2, 64, "worse than the floor, p = 0.001")
    page = write_report(folder, model, Evaluation((odd,), found.samples, found.labels, found.real))
    after = Page(page.read_text(encoding="utf-8")).text
    assert "111 to 136" in after
    assert "111 to 136" not in Page(text).text


def test_the_table_fits_wide_and_narrow_screens(digits) -> None:
    """Fixed widths that leave room for the verdict, and below 52rem one block for each row, with its own names."""
    _, found, text, _ = digits
    assert text.count('<table class="judged">') == 2  # all measurements, and class by class
    widths = [int(width) for width in re.findall(r"th:nth-child\(\d\) { width: (\d+)%", text)]
    assert len(widths) == 4
    assert sum(widths) <= 72, "two columns of ranges need 14 % each"
    narrow = text[text.index("@media (max-width: 52rem)") :]
    assert ".judged td { display: block;" in narrow
    assert "attr(data-name)" in narrow
    for name in ("value", "95 % interval", "floor", "verdict"):
        assert text.count(f'data-name="{name}"') == len(found.metrics)
    # Planted fault: cells that cannot wrap are what clipped the verdict.
    assert "white-space: normal" in text[text.index(".judged td.n") :].split("\n")[0]


def test_it_says_what_was_learned_and_how_to_go_on(digits) -> None:
    model, _, text, _ = digits
    shown = " ".join(Page(text).text.split())
    for told in (
        "120 learned from, 30 held out",
        model.config.method,
        "parameters",
        "seconds",
        "Training: ",
        "Copies of training items",
        "driftback sample",
        "--label 0",
        "db.load(",
        "Guessing blindly costs 4.087 bits",
    ):
        assert told in shown, told


def test_every_metric_is_told_in_plain_words(digits, moons) -> None:
    for metric in (*digits[1].metrics, *moons[1].metrics):
        assert any(metric.name.startswith(start) for start in MEANINGS), metric.name


def test_bits_rest_on_the_fit(digits) -> None:
    bits = next(metric for metric in digits[1].metrics if metric.name == BITS)
    assert bits.low < bits.value < bits.high
    assert bits.n == 30


def test_the_same_model_gives_the_same_page(moons) -> None:
    model, found, text, folder = moons
    assert write_report(folder, model, found).read_text(encoding="utf-8") == text


def test_the_film_shows_every_preview(digits, tmp_path) -> None:
    model, found, text, folder = digits
    steps = re.findall(r"<figcaption>step ([\d,]+)</figcaption>", text)
    drawn = sorted((folder / "previews").glob("step-*.png"))
    assert [int(step.replace(",", "")) for step in steps] == [int(path.stem[5:]) for path in drawn]
    assert steps
    # A preview that was cut short is left out, and the page is still there.
    shutil.copytree(folder, tmp_path / "copy")
    for path in (tmp_path / "copy" / "previews").glob("step-*.png"):
        path.write_bytes(path.read_bytes()[:200])
    assert "<figcaption>step" not in write_report(tmp_path / "copy", model, found).read_text(encoding="utf-8")
