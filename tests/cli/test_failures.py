"""What goes wrong for beginners: each ends in one clear line, a status that is not 0, and nothing half-written.

The names follow the project's table of failures. Some rows are no errors but warnings: those must be said, and heeded.
"""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from driftback.cli import sample as sample_command
from driftback.data.loading import load as load_data
from driftback.errors import BadInput, DamagedModel, out_of_memory
from driftback.files import read_tensors, write_tensors
from driftback.recipes.config import read
from driftback.recipes.prepare import prepare
from driftback.scores.learned import LearnedDenoiser

FIT = ("--batch", 16, "--steps", 1, "--quiet")


def pictures(folder: Path, count: int, size: int = 8, mode: str = "L", suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    noise = np.random.Generator(np.random.Philox(count)).integers(0, 256, (count, size, size), np.uint8)
    for i, picture in enumerate(noise):
        Image.fromarray(picture).convert(mode).save(folder / f"{mode}{size}-{i:03d}{suffix}")
    return folder


def saved(path: Path, x: np.ndarray) -> Path:
    np.save(path, x, allow_pickle=False)
    return path


def normal(*shape: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(1)).standard_normal(shape)


def empty_folder(home: Path) -> Path:
    (home / "data").mkdir()
    return home / "data"


def truncated_files(home: Path) -> Path:
    for path in pictures(home / "data", 12).iterdir():
        path.write_bytes(path.read_bytes()[:40])
    return home / "data"


def text_in_a_table(home: Path) -> Path:
    (home / "data.csv").write_text("a,b\n" + "1,2\n" * 20 + "1,tall\n")
    return home / "data.csv"


def missing_in_a_table(home: Path) -> Path:
    (home / "data.csv").write_text("a,b\n" + "1,2\n2,3\n" * 20 + "1,\n")
    return home / "data.csv"


def a_pickle(home: Path) -> Path:
    np.save(home / "data.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    return home / "data.npy"


def cut_array(home: Path) -> Path:
    path = saved(home / "data.npy", normal(100, 2))
    path.write_bytes(path.read_bytes()[:300])
    return path


SOURCES = {
    "empty folder": (empty_folder, (), ("data",)),
    "truncated files": (truncated_files, (), ("L8-",)),
    "text in a table": (text_in_a_table, (), ("tall",)),
    "an array that is a pickle": (a_pickle, (), ("data.npy",)),
    "an array cut short": (cut_array, (), ("data.npy",)),
    "misspelt name": (lambda home: "two-mons", (), ("two-moons",)),
    "misspelt file": (lambda home: saved(home / "points.npy", normal(30, 2)).with_name("pionts.npy"), (), ("points",)),
    "unknown column": (lambda home: text_in_a_table(home), ("--columns", "A,c"), ("c",)),
    "odd channels": (lambda home: pictures(home / "data", 12), ("--channels", 2), ("channels", "1 (grey)")),
    "a size that is none": (lambda home: pictures(home / "data", 12), ("--size", "big"), ("32x48",)),
    "not a number": (lambda home: saved(home / "d.npy", np.where(normal(50, 2) > 2, np.nan, 1.0)), (), ("NaN",)),
    "all the same": (lambda home: saved(home / "d.npy", np.ones((50, 2))), (), ("same",)),
    "too few items": (lambda home: saved(home / "d.npy", normal(5, 2)), (), ("5 items",)),
    "unknown method": (lambda home: "two-moons", ("--method", "emd"), ("edm", "ddpm", "flow")),
    "no GPU": (lambda home: "two-moons", ("--device", "cuda:99"), ("cuda:99", "--device")),
    "no time": (lambda home: "two-moons", ("--minutes", 0), ("minutes",)),
    "minutes and steps": (lambda home: "two-moons", ("--minutes", 1), ("minutes", "steps")),
    "labels of a lone array": (lambda home: saved(home / "d.npy", normal(50, 2)), ("--label", "q"), ("q", ".npz")),
    "no batch": (lambda home: "two-moons", ("--batch", 0), ("batch",)),
    "no learning rate": (lambda home: "two-moons", ("--learning-rate", -1), ("learning",)),
    "all held out": (lambda home: "two-moons", ("--held-out", 1), ("held",)),
}


@pytest.mark.parametrize("row", SOURCES)
def test_fit_refuses_in_one_line(cli, tmp_path, row) -> None:
    source, more, told = SOURCES[row]
    given = [*FIT, *more] if row != "no time" else [*more]
    result = cli("fit", source(tmp_path), "--out", tmp_path / "run", *given)
    assert result.code == 2
    assert all(word in result.error for word in told), result.error
    assert result.out == ""
    assert not (tmp_path / "run").exists()


def test_loss_not_finite(cli, tmp_path) -> None:
    words = ("two-moons", "--n", 300, "--batch", 64, "--steps", 30, "--learning-rate", 1e30)
    result = cli("fit", *words, "--out", tmp_path / "run", "--quiet")
    assert result.code == 4
    assert all(word in result.error for word in ("step", "items", "t from", "float32", "--learning-rate"))
    # The last good state is kept, whole, and of use.
    assert cli("info", tmp_path / "run", "--json").json["whole"]
    kept, _ = read_tensors(tmp_path / "run" / "weights.safetensors")
    assert max(float(each.abs().max()) for each in kept.values()) < 10
    assert cli("sample", tmp_path / "run", "-n", 3, "--steps", 2, "--out", tmp_path / "x.npy").code == 0
    assert np.isfinite(np.load(tmp_path / "x.npy", allow_pickle=False)).all()


@pytest.mark.parametrize("model", ["moons", "digits"])
def test_a_model_that_gives_no_numbers(cli, request, tmp_path, model) -> None:
    run = shutil.copytree(request.getfixturevalue(model), tmp_path / "run")
    tensors, about = read_tensors(run / "weights.safetensors")
    write_tensors(run / "weights.safetensors", {k: torch.full_like(v, np.nan) for k, v in tensors.items()}, about)
    result = cli("sample", run, "-n", 3, "--steps", 2, "--out", tmp_path / "x.npy")
    assert result.code == 5
    assert all(word in result.error for word in ("sample 0 (and 2 more)", "NaN", "--checkpoint best"))
    assert not (tmp_path / "x.npy").exists()
    before = (run / "evaluation.json").exists()
    assert cli("evaluate", run, "-n", 20).code == 5
    assert (run / "evaluation.json").exists() == before
    result = cli("likelihood", run, "--n", 20, "--json", *(["--draws", 2] if model == "digits" else []))
    assert result.code == 5
    assert "log-likelihood of item 0" in result.error
    assert result.out == ""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda: load_data("digits").x[:30] * 16, ("levels", "0, 1, ..., 16")),
        (lambda: load_data("digits").x[:30] / 16, ("levels",)),
        (lambda: np.zeros((30, 9, 9)), ("(8, 8)", "(9, 9)")),
        (lambda: np.full((30, 8, 8), np.nan), ("NaN",)),
    ],
)
@pytest.mark.parametrize("verb", ["likelihood", "evaluate"])
def test_values_outside_the_declared_range(cli, digits, tmp_path, verb, data, told) -> None:
    result = cli(verb, digits, saved(tmp_path / "other.npy", data()))
    assert result.code == 2
    assert all(word in result.error for word in told)
    assert result.out == ""


def test_bytes_are_scaled_and_scaled_back(cli, tmp_path) -> None:
    assert cli("fit", pictures(tmp_path / "data", 20), "--out", tmp_path / "run", *FIT, "--held-out", 0).code == 0
    assert cli("sample", tmp_path / "run", "-n", 3, "--steps", 2, "--out", tmp_path / "x.npy", "--quiet").code == 0
    x = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert x.dtype == np.uint8
    assert int(x.max()) > 100


def said(cli, source, *more) -> str:
    result = cli("check", source, "--json", *more)
    return " | ".join(finding["what"] for finding in result.json["findings"])


def test_alpha_palettes_and_mixed_modes(cli, tmp_path) -> None:
    folder = pictures(tmp_path / "data", 6)
    for mode in ("RGBA", "P", "RGB"):
        pictures(folder, 6, mode=mode)
    found = said(cli, folder)
    assert all(mode in found for mode in ("RGBA", "P", "RGB"))
    assert "white" in found


def test_mixed_sizes(cli, tmp_path) -> None:
    folder = pictures(pictures(tmp_path / "data", 8, size=8), 8, size=12)
    out = tmp_path / "run"
    for result in (cli("check", folder), cli("fit", folder, "--out", out, *FIT)):
        assert result.code == 2
        # The histogram, and sizes that would do; `error` holds that it is one line.
        assert all(word in result.error for word in ("8 of 12 x 12, 8 of 8 x 8", "--size"))
        assert result.out == ""
    assert not out.exists()
    assert cli("check", folder, "--size", 8).code == 0
    assert cli("fit", folder, "--size", 8, "--out", out, *FIT).code == 0


def test_truncated_files_are_skipped_and_listed(cli, tmp_path) -> None:
    folder = pictures(tmp_path / "data", 20)
    bad = folder / "L8-003.png"
    bad.write_bytes(bad.read_bytes()[:40])
    found = cli("check", folder, "--json").json
    assert found["items"] == 19
    assert any(bad.name in file for finding in found["findings"] for file in finding["files"])


def test_missing_values_are_left_out_and_told(cli, tmp_path) -> None:
    source = missing_in_a_table(tmp_path)
    result = cli("fit", source, "--out", tmp_path / "run", *FIT, "--json")
    assert result.json["items"] + result.json["held_out"] == 40
    assert "column 'b' has missing values" in result.err  # --quiet silences progress, not warnings


def test_few_items_and_few_steps_are_warned_of(fits) -> None:
    assert "under 1,000" in fits["digits"].err
    assert "few for averaged weights" in fits["digits"].err


@pytest.mark.slow
def test_memorising_is_told_with_the_best_step(cli, tmp_path) -> None:
    words = ("two-moons", "--n", 30, "--batch", 64, "--steps", 1000, "--learning-rate", 0.01)
    result = cli("fit", *words, "--out", tmp_path / "run", "--quiet", "--json")
    assert "memorising since step" in result.json["verdict"]
    assert "best checkpoint" in result.json["verdict"]
    best = cli("sample", tmp_path / "run", "-n", 4, "--steps", 2, "--checkpoint", "best", "--out", tmp_path / "b.npy")
    assert best.code == 0


@pytest.mark.slow
def test_samples_that_are_only_noise_are_told(cli, tmp_path) -> None:
    out = tmp_path / "run"
    assert cli("fit", "two-moons", "--n", 300, "--method", "ddpm", *FIT, "--out", out).code == 0
    metrics = {metric["name"]: metric for metric in cli("evaluate", out, "-n", 60, "--json").json["metrics"]}
    ratio = metrics["deviation ratio"]
    assert not ratio["floor_low"] <= ratio["value"] <= ratio["floor_high"]
    assert "inside" not in ratio["verdict"]


def of_digits(kind: str, n: int) -> np.ndarray:
    """Samples that went wrong in one of the ways of the table, on the digits' levels; or digits as they are."""
    if kind == "right":
        return load_data("digits").x[500 : 500 + n]
    rng = np.random.Generator(np.random.Philox(2))
    return {
        "grey": np.full((n, 8, 8), 5.0),
        "black": np.zeros((n, 8, 8)),
        "noisy": 16.0 * (rng.random((n, 8, 8)) < 0.4),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("grey", "grey, all near the mean; train longer"),
        ("black", "one flat shade, black or white; the units on the way in and out differ"),
        ("noisy", "noise is left in them; sample with more steps"),
        ("right", None),
    ],
)
def test_grey_black_and_noisy_samples_are_told_with_their_cause(cli, digits, tmp_path, monkeypatch, kind, cause):
    run = shutil.copytree(digits, tmp_path / "run")
    monkeypatch.setattr("driftback.recipes.model.Model.sample", lambda self, n, **options: of_digits(kind, n))
    result = cli("evaluate", run, "-n", 400, "--json", "--quiet")
    assert result.code == 0
    told = [line for line in result.err.splitlines() if "times the data's deviation" in line]
    assert len(told) == (cause is not None)
    assert cause is None or cause in told[0]


def test_a_score_on_too_few_samples(cli, moons) -> None:
    before = (moons / "evaluation.json").exists()
    result = cli("evaluate", moons, "-n", 5)
    assert result.code == 2
    assert "at least 20" in result.error
    assert "n must be at least 1, not 0" in cli("evaluate", moons, "-n", 0).error
    assert (moons / "evaluation.json").exists() == before


def test_unknown_class(cli, digits, tmp_path) -> None:
    result = cli("sample", digits, "--label", "twelve", "--out", tmp_path / "x.npy")
    assert result.code == 2
    assert "twelve" in result.error
    assert "0 (" in result.error  # the known classes with their counts
    assert not (tmp_path / "x.npy").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("-n", 0), "at least 1"),
        (("--label", "3"), "no classes"),
        (("--guidance", 1), "class"),
        (("--guidance", -1), "guidance"),
        (("--steps", 0), "steps"),
        (("--batch-size", 0), "batch"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--seed", -1), "--seed"),
        (("--checkpoint", "newest"), "best"),
    ],
)
def test_sample_refuses_in_one_line(cli, moons, tmp_path, more, told) -> None:
    result = cli("sample", moons, "--out", tmp_path / "x.npy", *more)
    assert result.code == 2
    assert told in result.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.txt", "x.csv.gz", "x", "x.jpg"])
def test_sample_refuses_a_kind_of_file_before_it_draws(cli, moons, tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr("driftback.recipes.model.Model.draw", None)
    result = cli("sample", moons, "--out", tmp_path / name)
    assert ".npy, .npz, .csv, .png" in result.error
    assert sample_command.SUFFIXES["points"] == (".npy", ".npz", ".csv", ".png")


def test_nothing_is_replaced_unasked(cli, moons, tmp_path) -> None:
    out = tmp_path / "x.npy"
    out.write_text("mine")
    result = cli("sample", moons, "-n", 3, "--out", out)
    assert "--force" in result.error
    assert out.read_text() == "mine"
    assert cli("sample", moons, "-n", 3, "--steps", 2, "--out", out, "--force").code == 0
    result = cli("fit", "two-moons", *FIT, "--out", moons)
    assert "--resume" in result.error
    assert "--force" in result.error
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("mine")
    result = cli("fit", "two-moons", *FIT, "--out", tmp_path / "letters", "--force")
    assert "no part of a model" in result.error
    assert (tmp_path / "letters" / "dear.txt").read_text() == "mine"


@pytest.mark.parametrize("verb", ["sample", "evaluate", "likelihood", "info"])
def test_no_model_there(cli, tmp_path, verb) -> None:
    more = ("--out", tmp_path / "x.npy") if verb == "sample" else ()
    result = cli(verb, tmp_path / "gone", *more)
    assert result.code == 3
    assert f"there is no model in {tmp_path / 'gone'}" in result.error
    assert "driftback fit" in result.error


def test_a_file_or_a_near_miss_in_place_of_a_run(cli, moons, tmp_path) -> None:
    told = cli("info", saved(tmp_path / "num.npy", normal(5, 2))).error
    assert "num.npy is a file; RUN is the folder" in told
    assert "SOURCE --out" not in told
    assert f"did you mean {moons}?" in cli("info", moons.with_name("mons")).error


def test_nothing_to_resume(cli, tmp_path) -> None:
    """A kill at any moment, the first one too, can be answered by --resume; a misspelt folder is told."""
    for n, left in enumerate((None, (), (".config.7.part.json",))):
        run = tmp_path / f"run{n}"
        for name in left or ():
            run.mkdir(exist_ok=True)
            (run / name).write_text("")
        result = cli("fit", "two-moons", "--n", 100, "--out", run, "--resume", *FIT)
        assert result.code == 0
        assert "starting again" in result.err
        assert ("nothing to resume" in result.err) == (not left)


def test_what_validators_call_it_is_not_told(cli, moons, tmp_path) -> None:
    result = cli("sample", moons, "-n", "abc", "--out", tmp_path / "x.npy")
    assert "give a whole number" in result.error
    assert "parse" not in result.error
    assert "give a number" in cli("fit", "digits", "--out", tmp_path / "x", "--minutes", "soon").error


def changed(run: Path, **facts: object) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | facts))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: changed(run, version=99), "newer"),
        (lambda run: changed(run, spread="wide"), "spread"),
        (lambda run: changed(run, method="emd"), "emd"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged"),
        (lambda run: (run / "config.json").unlink(), "config.json is missing"),
        (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors is missing"),
        (lambda run: (run / "weights.safetensors").write_bytes(b""), "weights.safetensors is damaged"),
        (lambda run: (run / "weights.safetensors").write_bytes(b"\xff" * 64), "weights.safetensors is damaged"),
    ],
)
def test_old_or_damaged_model(cli, moons, tmp_path, damage, told) -> None:
    run = shutil.copytree(moons, tmp_path / "run")
    damage(run)
    result = cli("sample", run, "--out", tmp_path / "x.npy")
    assert result.code == 3
    assert told in result.error
    assert not (tmp_path / "x.npy").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((("preprocessing", "scale"), value) for value in (["a"], [], [1.0, 2.0, 3.0], [-1.0, 1.0], "x", None, 2.0)),
        *((("preprocessing", "offset"), value) for value in ([1e400, 0.0], [1.0, 2.0, 3.0], {})),
        *((("preprocessing", "event"), value) for value in ([], [-1], ["two"], 2)),
        *((("preprocessing", name), "x") for name in ("kind", "layout", "dtype", "levels", "whole", "columns")),
        (("preprocessing", "decimals"), [1]),
        (("preprocessing", "classes"), [1]),
        (("network", "widths"), [-1]),
        (("network", "depth"), 0),
        (("plan", "steps"), 1.5),
        (("plan", "colour"), 1),
        *((("spread",), value) for value in (0, -1.0, 1e400)),
        *(((name,), []) for name in ("version", "library", "name", "source", "reading", "method", "fingerprint")),
        (("version",), 1e400),
        (("class_counts",), [-1]),
        (("items",), "many"),
        (("held_out",), -1),
        (("held_out_share",), 2),
    ],
    ids=str,
)
def test_a_damaged_field_is_named(moons, tmp_path, field, value) -> None:
    record = json.loads((moons / "config.json").read_text())
    place = record
    for name in field[:-1]:
        place = place[name]
    place[field[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(DamagedModel, match=r"config\.json is damaged") as caught:
        read(tmp_path)
    assert field[-1] in str(caught.value) or field == ("version",)
    assert "\n" not in str(caught.value)


def test_data_that_changed(cli, tmp_path) -> None:
    data = saved(tmp_path / "data.npy", normal(60, 2))
    assert cli("fit", data, *FIT, "--out", tmp_path / "run").code == 0
    saved(data, normal(60, 2) + 1)
    assert "has changed" in cli("evaluate", tmp_path / "run").error
    assert "other data" in cli("fit", data, "--out", tmp_path / "run", "--resume").error
    data.unlink()
    assert "give DATA" in cli("likelihood", tmp_path / "run").error


@pytest.fixture
def small_disk():
    """No file may grow beyond 20,000 bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv"])
def test_full_disk_while_sampling(cli, moons, tmp_path, small_disk, name) -> None:
    result = cli("sample", moons, "-n", 5000, "--steps", 1, "--out", tmp_path / name, "--quiet")
    assert result.code != 0
    assert name in result.error
    assert "cannot write" in result.error
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_fitting(cli, tmp_path, small_disk) -> None:
    result = cli("fit", "two-moons", "--n", 100, *FIT, "--out", tmp_path / "run")
    assert result.code != 0
    assert "cannot write" in result.error
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not any(".part" in name or name.endswith(".safetensors") for name in left)


def test_full_disk_for_the_log_alone(cli, tmp_path) -> None:
    """Every other file was written before: what was trained is kept, and the resume comes to the same end."""
    out, words = tmp_path / "run", ("two-moons", "--n", 100, "--batch", 16, "--steps", 24, "--quiet")
    assert cli("fit", *words, "--out", tmp_path / "whole").code == 0
    job = prepare("two-moons", n=100, batch=16, steps=24, out=out)
    for now in job.run():
        if now.step == 12:
            job.save()
            break
    log = out / "metrics.jsonl"
    before = log.read_text()
    # The limit lies a few bytes above the log.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    job = prepare("two-moons", n=100, out=out, resume=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, hard))
    try:
        with pytest.raises(BadInput, match=r"cannot write .*metrics\.jsonl: .*--resume") as caught:
            job._log({"kind": "step", "step": 14, "filling": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert log.read_text() != before, "half a line was written"
    assert cli("fit", "two-moons", "--out", out, "--resume", "--quiet").code == 0
    assert len(log.read_text().splitlines()) == len((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines())


class OutOfMemoryError(RuntimeError):
    """Named as torch's own, which a machine without a GPU never raises."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:120] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:85] DefaultCPUAllocator: not enough memory: you tried to"),
    ],
)
def test_out_of_memory(cli, moons, tmp_path, monkeypatch, error) -> None:
    def greedy(*args, **kwargs):
        raise error

    monkeypatch.setattr("driftback.recipes.model.Model.draw", greedy)
    result = cli("sample", moons, "--out", tmp_path / "x.npy")
    assert result.code == 1
    assert all(word in result.error for word in ("out of memory", "--batch-size", "fewer", "--device cpu"))


def test_torch_itself_runs_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("shapes do not match"))


def test_out_of_memory_while_fitting(cli, tmp_path, monkeypatch) -> None:
    """The batch is cut, which is said; measuring asks for no more at once than a step does."""
    usual, sizes = LearnedDenoiser.output, set()

    def narrow(self, x, t):
        if len(x) > 8:
            torch.empty(10**15)
        sizes.add(len(x))
        return usual(self, x, t)

    monkeypatch.setattr(LearnedDenoiser, "output", narrow)
    monkeypatch.setattr("driftback.recipes.job.Job._preview", lambda self, step: None)
    words = ("two-moons", "--n", 100, "--batch", 32, "--steps", 3)
    result = cli("fit", *words, "--out", tmp_path / "run")
    assert result.code == 0
    assert "out of memory at step 1: the batch of 32 is computed in 4 parts" in result.err
    assert result.err.count("out of memory") == 1
    assert max(sizes) == 8


def test_memory_is_forecast(cli, tmp_path, monkeypatch) -> None:
    words = ("two-moons", "--n", 100, "--batch", 32, "--steps", 1)
    assert "memory: about" in cli("fit", *words, "--out", tmp_path / "a").err
    monkeypatch.setattr("driftback.training.memory.memory_of", lambda device: 1000)
    assert "warning: that is more than there is" in cli("fit", *words, "--out", tmp_path / "b").err


def test_ctrl_c_while_drawing(cli, moons, tmp_path, monkeypatch) -> None:
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("driftback.recipes.model.Model.draw", interrupted)
    result = cli("sample", moons, "--out", tmp_path / "x.npy")
    assert result.code == 130
    assert "stopped" in result.error
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_ours_is_told_from_one_of_theirs(cli, moons, tmp_path, monkeypatch) -> None:
    def wrong(*args, **kwargs):
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("driftback.recipes.model.Model.draw", wrong)
    result = cli("sample", moons, "--out", tmp_path / "x.npy", "--quiet")
    assert result.code == 70
    assert "our mistake (ZeroDivisionError: two lines)" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("smaple", "x"), "'sample'"),
        (("fit", "digits", "--out", "x", "--minuts", "2"), "--minutes"),
        (("fit", "digits"), "--out"),
        (("fit",), "SOURCE"),
        (("fit", "digits", "--out", "x", "--steps", "many"), "--steps"),
    ],
)
def test_a_slip_of_the_keyboard(cli, words, told) -> None:
    result = cli(*words)
    assert result.code == 2
    assert told in result.error
    assert "--help" in result.error
