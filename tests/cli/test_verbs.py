"""Every verb does its job, says it in JSON with exactly the promised keys, and shows in its help how to call it."""

import csv
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from driftback.cli import fit as fit_command
from driftback.cli.app import COMMANDS, app
from driftback.data.loading import load as load_data
from driftback.processes.schedules import VP
from driftback.recipes.methods import METHODS
from driftback.scores.learned import LearnedDenoiser

FIT = ["model", "kind", "items", "held_out", "seconds", "samples_seen", "bits_per_dim", "bits_per_dim_se", "verdict"]
METRIC = ["name", "value", "low", "high", "floor_low", "floor_high", "n", "verdict"]
LIKELIHOOD = ["nats", "bits_per_dim", "standard_error", "method", "evaluations"]


def test_fit_says_what_it_did(fits) -> None:
    moons, digits = fits["moons"].json, fits["digits"].json
    assert list(moons) == list(digits) == FIT
    assert (moons["kind"], moons["items"], moons["held_out"], moons["samples_seen"]) == ("points", 240, 60, 3 * 64)
    assert moons["bits_per_dim"] is None
    assert moons["bits_per_dim_se"] is None
    assert (digits["kind"], digits["items"], digits["held_out"], digits["samples_seen"]) == ("pictures", 120, 30, 16)
    # Seventeen levels: guessing blindly costs log2(17) = 4.09 bits, and no two steps reach 1.
    assert 1 < digits["bits_per_dim"] < 4.09
    assert digits["bits_per_dim_se"] > 0


def test_fit_forecasts_before_it_trains(fits) -> None:
    assert "parameters" in fits["digits"].err
    assert "MFLOP per item" in fits["digits"].err
    assert "warning: " in fits["digits"].err
    assert re.search(r"speed: [\d,]+ pictures per second expected of this preset", fits["digits"].err)
    assert re.search(r"speed: [\d,]+ points per second expected of this preset", fits["moons"].err)


def test_a_budget_tells_the_measured_speed_beside_the_expected(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("driftback.recipes.prepare.seconds_per_step", lambda *given, **options: 0.25)
    result = cli("fit", "two-moons", "--n", 100, "--minutes", 0.01, "--batch", 50, "--out", tmp_path / "run")
    assert re.search(
        r"speed: 200 measured, [\d,]+ points per second expected of this preset; training takes", result.err
    )


def test_a_signal_that_is_left_at_the_end_is_told(cli, tmp_path, monkeypatch) -> None:
    assert "signal-to-noise" not in cli("fit", "two-moons", "--steps", 1, "--out", tmp_path / "good").err
    weak = replace(METHODS["ddpm"], schedule=lambda spread: VP(high=4.0))
    monkeypatch.setitem(METHODS, "ddpm", weak)
    words = ("two-moons", "--method", "ddpm", "--steps", 1, "--out", tmp_path / "run", "--quiet")
    # exp(-(0.1 + 4) / 2) of the variance is signal: 0.129 to 0.871.
    told = "warning: the forward process ends with a signal-to-noise ratio of 0.15"
    assert told in cli("fit", *words).err
    assert told in cli("info", tmp_path / "run").err
    assert "--method edm or flow" in cli("info", tmp_path / "run").err


def test_a_finished_fit_is_left_as_it_is(cli, moons) -> None:
    before = (moons / "weights.safetensors").stat().st_mtime_ns
    again = cli("fit", "two-moons", "--out", moons, "--resume", "--json")
    assert again.code == 0
    assert "is finished" in again.err
    assert list(again.json) == FIT
    assert (moons / "weights.safetensors").stat().st_mtime_ns == before


def test_check_lists_findings(cli, tmp_path) -> None:
    found = cli("check", "digits", "--json").json
    assert list(found) == ["kind", "items", "shape", "findings"]
    assert (found["kind"], found["items"], found["shape"]) == ("pictures", 1797, [8, 8])
    assert found["findings"]
    assert all(list(finding) == ["level", "what", "count", "files"] for finding in found["findings"])
    np.save(tmp_path / "bad.npy", np.array([[1.0, np.nan]] * 50))
    bad = cli("check", tmp_path / "bad.npy", "--json")
    assert bad.code == 2
    assert bad.json["findings"][0]["level"] == "error"
    assert "error" in cli("check", tmp_path / "bad.npy").out


def test_sample_says_where_and_how_many(cli, moons, tmp_path) -> None:
    found = cli("sample", moons, "-n", 12, "--steps", 3, "--out", tmp_path / "x.npy", "--json").json
    assert list(found) == ["out", "n", "shape", "evaluations", "seconds", "error", "autoguidance"]
    assert (found["n"], found["shape"], found["evaluations"]) == (12, [12, 2], 5)
    assert np.load(tmp_path / "x.npy", allow_pickle=False).shape == (12, 2)


def test_sample_writes_every_kind_of_file(cli, moons, digits, tmp_path) -> None:
    def draw(model, name, *more):
        result = cli("sample", model, "-n", 5, "--steps", 9, "--quiet", "--out", tmp_path / name, *more)
        assert (result.code, result.err) == (0, "")
        return tmp_path / name

    rows = list(csv.reader(draw(moons, "new.csv").read_text().splitlines()))
    assert rows[0] == ["x", "y"]
    x = np.load(draw(moons, "new.npy"), allow_pickle=False)
    assert np.array_equal(np.array(rows[1:], x.dtype), x)
    for picture in (draw(moons, "scatter.png"), draw(digits, "grid.png")):
        with Image.open(picture) as image:
            assert image.size[0] >= 400
    with np.load(draw(digits, "new.npz", "--label", "3"), allow_pickle=False) as both:
        assert both["x"].shape == (5, 8, 8)
        assert set(both["y"].tolist()) == {"3"}
    folder = draw(digits, "folder", "--label", "7")
    assert len(list((folder / "7").glob("*.png"))) == 5


def drawn(cli, run, tmp_path, n, *more) -> np.ndarray:
    out = tmp_path / f"{n}-{'-'.join(map(str, more))}.npy"
    assert cli("sample", run, "-n", n, "--steps", 2, "--seed", 5, "--out", out, *more).code == 0
    return np.load(out, allow_pickle=False)


@pytest.mark.parametrize("batch", [64, 100, 1024])
def test_an_item_depends_on_its_number_alone(cli, digits, tmp_path, batch) -> None:
    few, many = drawn(cli, digits, tmp_path, 10), drawn(cli, digits, tmp_path, 130, "--batch-size", batch)
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, many[64:74])  # one block does not repeat the other


@pytest.mark.parametrize("batch", [1, 1024, 1500, 2048, 5000])
def test_points_do_not_depend_on_the_batch(cli, moons, tmp_path, batch) -> None:
    # Points are not rounded to levels, so a difference in the last bit would show.
    whole = drawn(cli, moons, tmp_path, 2500)
    assert np.array_equal(whole, drawn(cli, moons, tmp_path, 2500, "--batch-size", batch))
    assert not np.array_equal(whole[:1024], whole[1024:2048])  # one block does not repeat the other


@pytest.mark.parametrize(("batch", "at_once"), [(1, 1024), (1024, 1024), (1025, 2048)])
def test_a_batch_is_whole_blocks(cli, moons, tmp_path, monkeypatch, batch, at_once) -> None:
    usual, sizes = LearnedDenoiser.denoised, set()
    monkeypatch.setattr(LearnedDenoiser, "denoised", lambda self, x, t: sizes.add(len(x)) or usual(self, x, t))
    drawn(cli, moons, tmp_path, 2, "--batch-size", batch)
    assert sizes == {at_once}
    assert "whole blocks of 1024 points" in " ".join(cli("sample", "--help").out.replace("│", " ").split())


def test_ten_points_are_the_first_of_a_thousand(cli, moons, tmp_path) -> None:
    few, many = drawn(cli, moons, tmp_path, 10), drawn(cli, moons, tmp_path, 1000)
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, drawn(cli, moons, tmp_path, 10, "--seed", 6))


def test_one_seed_gives_one_model(cli, moons, tmp_path) -> None:
    def fitted(name, seed):
        words = ("two-moons", "--n", 300, "--batch", 64, "--steps", 3, "--seed", seed, "--quiet")
        assert cli("fit", *words, "--out", tmp_path / name).code == 0
        return (tmp_path / name / "weights.safetensors").read_bytes()

    undisturbed = (moons / "weights.safetensors").read_bytes()
    assert fitted("same", 0) == undisturbed
    assert fitted("other", 1) != undisturbed


def test_evaluate_gives_metrics_with_floors(cli, moons, digits) -> None:
    found = cli("evaluate", moons, "-n", 60, "--json").json
    assert list(found) == ["metrics"]
    assert all(list(metric) == METRIC for metric in found["metrics"])
    assert json.loads((moons / "evaluation.json").read_text()) == found
    assert any(metric["floor_low"] is not None for metric in found["metrics"])
    # Three steps learn nothing: what cannot tell such samples from real ones measures nothing.
    assert any("worse" in metric["verdict"] or "told apart" in metric["verdict"] for metric in found["metrics"])
    names = [metric["name"] for metric in cli("evaluate", digits, "-n", 40, "--json").json["metrics"]]
    assert "label agreement" in names
    assert "held-out bits per dimension" in names


def test_evaluate_takes_other_data(cli, moons, tmp_path) -> None:
    other = load_data("two-moons", n=80, seed=9)
    np.save(tmp_path / "fresh.npy", other.x)
    result = cli("evaluate", moons, tmp_path / "fresh.npy", "-n", 40)
    assert result.code == 0
    assert "verdict" in result.out
    np.save(tmp_path / "few.npy", np.full((3, 2), 1600.0))
    few = cli("evaluate", moons, tmp_path / "few.npy", "-n", 40)
    assert few.code == 2
    assert "at least 20" in few.error
    np.save(tmp_path / "far.npy", 1600 + other.x)
    assert "cannot tell: DATA lie elsewhere" in cli("evaluate", moons, tmp_path / "far.npy", "-n", 40).out


def test_likelihood_gives_nats_and_bits(cli, moons, digits, tmp_path) -> None:
    found = cli("likelihood", digits, "--draws", 2, "--json").json
    assert list(found) == LIKELIHOOD
    assert found["bits_per_dim"] == pytest.approx(-found["nats"] / (64 * np.log(2)))
    assert found["standard_error"] > 0
    assert "given the class" in found["method"]
    blind = cli("likelihood", digits, "--draws", 2, "--label-less", "--per-item", "--json").json
    assert list(blind) == [*LIKELIHOOD, "items"]
    assert "class" not in blind["method"]
    assert len(blind["items"]) == 30
    assert np.mean([item["nats"] for item in blind["items"]]) == pytest.approx(blind["nats"])
    np.save(tmp_path / "few.npy", load_data("two-moons", n=4, seed=9).x)
    assert list(cli("likelihood", moons, tmp_path / "few.npy", "--json").json) == [*LIKELIHOOD, "vector_products"]
    np.save(tmp_path / "digits.npy", load_data("digits").x[:3])
    unlabelled = cli("likelihood", digits, tmp_path / "digits.npy", "--draws", 2)
    assert "digits.npy has no labels: this is log p(x), of all classes together" in unlabelled.err
    assert "log p(x)" not in cli("likelihood", moons, tmp_path / "few.npy").err


def test_the_label_column_keeps_its_name(cli, tmp_path) -> None:
    rows = [f"{k % 7}.5,{k % 5}.25,{'red' if k % 2 else 'blue'}" for k in range(60)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,colour", *rows]))
    words = ("--label", "colour", "--steps", 5, "--quiet")
    assert cli("fit", tmp_path / "data.csv", "--out", tmp_path / "run", *words).code == 0
    new = tmp_path / "new.csv"
    assert cli("sample", tmp_path / "run", "-n", 30, "--steps", 2, "--out", new, "--quiet").code == 0
    assert new.read_text().splitlines()[0] == "a,b,colour"
    assert cli("fit", new, "--out", tmp_path / "again", *words).code == 0


def test_a_picture_of_many_columns_tells_which_it_shows(cli, tmp_path) -> None:
    x = np.random.Generator(np.random.Philox(1)).standard_normal((60, 3))
    (tmp_path / "data.csv").write_text("\n".join(["a,b,c", *(",".join(map(str, row)) for row in x)]))
    assert cli("fit", tmp_path / "data.csv", "--out", tmp_path / "run", "--steps", 5, "--quiet").code == 0
    words = ("sample", tmp_path / "run", "-n", 10, "--steps", 9, "--quiet", "--out")
    told = cli(*words, tmp_path / "x.png")
    assert "shows the columns a and b of 3" in told.err
    with Image.open(tmp_path / "x.png") as image:
        blue = (np.asarray(image.convert("RGB")) == [0, 114, 178]).all(-1).sum()
    assert blue > 10 * 20  # ten dots of 45 pixels each, some of them overlapping; they used to have four
    assert cli(*words, tmp_path / "x.csv").err == ""


def test_help_comes_without_a_word(cli) -> None:
    result = cli()
    assert (result.code, result.err) == (0, "")
    assert "evaluate" in result.out


def test_columns_of_other_data_are_matched_by_name(cli, tmp_path) -> None:
    x = np.random.Generator(np.random.Philox(1)).standard_normal((60, 3)) * [10, 5, 1] + [170, 60, 2]
    names = ("height", "weight", "kids")

    def written(name, head, rows):
        (tmp_path / name).write_text("\n".join([",".join(head), *(",".join(map(str, row)) for row in rows)]))
        return tmp_path / name

    run, plain = tmp_path / "run", written("plain.csv", names, x)
    assert cli("fit", plain, "--out", run, "--steps", 5, "--quiet").code == 0
    turned = written("turned.csv", ("kids", "who", *names[:2]), [[row[2], "me", row[0], row[1]] for row in x])
    one, other = (cli("likelihood", run, data, "--json").json["nats"] for data in (plain, turned))
    assert one == other
    lacking = cli("likelihood", run, written("lacking.csv", names[:2], x[:, :2]))
    assert lacking.code == 2
    assert "lacks the column 'kids'" in lacking.error


def test_info_tells_what_a_model_is(cli, digits) -> None:
    found = cli("info", digits, "--json").json
    assert (found["data"], found["steps_done"], found["finished"], found["whole"]) == ("digits", 2, True, True)
    assert found["parameters"] > 10_000
    assert found["flops_per_item"] > 1e6
    assert found["items_per_second_expected"] > 1
    assert "items per second expected" in cli("info", digits).out
    assert 0 <= found["signal_to_noise_at_the_end"] < 1e-2
    shown = cli("info", digits).out
    assert "signal to noise at the end" in shown
    assert "finished:                         yes" in shown


def test_demo_goes_from_data_to_report(cli, tmp_path, monkeypatch) -> None:
    few = load_data("digits", n=150)
    monkeypatch.setattr("driftback.data.builtin._digits", lambda: few)
    out = tmp_path / "demo"
    found = cli("demo", "--out", out, "--steps", 1, "--n", 64, "--quiet", "--json").json
    assert list(found) == [*FIT, "report", "grid"]
    assert (found["items"], found["held_out"]) == (120, 30)
    with Image.open(out / "grid.png") as image:
        assert image.size[0] >= 400
    assert (out / "report.html").stat().st_size > 10_000


def commands() -> dict:
    return get_command(app).commands


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_help_has_examples_that_parse(cli, module) -> None:
    name = module.__name__.rpartition(".")[2]
    shown = " ".join(cli(name, "--help").out.split())
    assert module.EXAMPLES
    for example in module.EXAMPLES:
        assert example in shown
        words = shlex.split(example)
        assert words[:2] == ["driftback", name]
        command = commands()[name]
        options, rest, _ = command.make_parser(command.context_class(command)).parse_args(words[2:])
        assert rest == []
        assert all(options.get(each.name) for each in command.params if each.required)


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_speaks_of_numbers_and_not_of_types(cli, name) -> None:
    shown = cli(name, "--help").out
    assert not any(word in shown for word in ("<int", "<float", "range>", "[["))
    assert "N [x>=0]" in " ".join(shown.split())


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_seed_and_json(name) -> None:
    given = {option for parameter in commands()[name].params for option in parameter.opts}
    assert {"--seed", "--json"} <= given


def test_help_names_every_method() -> None:
    assert fit_command.METHODS.split(", ") == list(METHODS)


def test_the_command_line_alone_imports_nothing_heavy() -> None:
    # The package's own `__init__` is left out: what is measured is what these files ask for.
    code = (
        "import sys, types, pathlib; package = types.ModuleType('driftback');"
        f"package.__path__ = [{str(__import__('driftback').__path__[0])!r}];"
        "sys.modules['driftback'] = package; import driftback.cli.app;"
        "print(sorted({'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_averages_of_any_length_from_the_command_line(cli, moons, tmp_path) -> None:
    words = (
        "two-moons",
        "--n",
        100,
        "--steps",
        20,
        "--batch",
        32,
        "--quiet",
        "--weighting",
        "min-snr",
        "--method",
        "vdm",
        "--optimiser",
        "muon",
    )
    assert cli("fit", *words, "--snapshots", "--out", tmp_path / "run").code == 0
    assert cli("info", tmp_path / "run", "--json").json["optimiser"] == "muon"
    for name, more in (("a.npy", ()), ("b.npy", ("--ema", 0.05)), ("c.npy", ("--ema", 0.2))):
        assert cli("sample", tmp_path / "run", "-n", 3, "--steps", 2, "--out", tmp_path / name, *more).code == 0
    drawn = [np.load(tmp_path / name, allow_pickle=False) for name in ("a.npy", "b.npy", "c.npy")]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])
    refused = cli("sample", moons, "-n", 3, "--ema", 0.1, "--out", tmp_path / "d.npy")
    assert refused.code == 2
    assert "no snapshots" in refused.error
    told = cli("sample", tmp_path / "run", "-n", 3, "--sampler", "iddpm", "--out", tmp_path / "d.npy")
    assert "learned no variances" in told.error
    assert "counts squared errors" in cli("fit", "digits", "--weighting", "min-snr", "--out", tmp_path / "x").error


def test_evaluate_draws_a_gallery_and_judges_in_features(cli, digits, moons, tmp_path) -> None:
    path = tmp_path / "nearest.png"
    found = cli("evaluate", digits, "-n", 30, "--gallery", path, "--features", "none", "--json")
    assert found.code == 0
    assert not any("features" in metric["name"] for metric in found.json["metrics"])
    with Image.open(path) as image:
        assert image.width > 400
    assert "wrote" in found.err
    assert "pairs" in found.err
    again = cli("evaluate", digits, "-n", 30, "--gallery", path)
    assert "replace it with --force" in again.error
    assert "let the name end in .png" in cli("evaluate", digits, "--gallery", tmp_path / "x.jpg").error
    assert "a gallery shows pictures" in cli("evaluate", moons, "--gallery", tmp_path / "x.png").error
    assert "a network's" not in cli("evaluate", digits, "-n", 30, "--features", "none").out
    assert "did you mean patches" in cli("evaluate", digits, "--features", "pathces").error
    assert "features of pictures" in cli("evaluate", moons, "--features", "patches").error


def test_help_names_all_features() -> None:
    from driftback.cli.evaluate import FEATURES
    from driftback.evaluation.features.named import AUTO, NONE
    from driftback.evaluation.features.named import FEATURES as KNOWN

    assert (AUTO, *KNOWN, NONE) == FEATURES


@pytest.mark.slow
def test_fit_tells_tensorboard_when_asked(cli, tmp_path, monkeypatch) -> None:
    from driftback.training import tensorboard

    words = ("fit", "two-moons", "--n", 60, "--batch", 16, "--steps", 4, "--out", tmp_path / "a", "--tensorboard")
    with monkeypatch.context() as patch:
        patch.setattr(tensorboard, "find_spec", lambda name: None)
        assert "driftback[track]" in cli(*words).error
        assert not (tmp_path / "a").exists()
    pytest.importorskip("tensorboard")
    found = cli(*words)
    assert found.code == 0
    assert "watch it with: tensorboard --logdir" in found.err
    assert list((tmp_path / "a" / "tensorboard").glob("events*"))
    assert cli(*words, "--force").code == 0
    assert len(list((tmp_path / "a" / "tensorboard").glob("events*"))) == 1


def test_info_tells_the_health_of_a_training(cli, digits) -> None:
    found = cli("info", digits, "--health")
    assert found.code == 0
    for told in (
        "verdict: ",
        "loss on training items: ",
        "loss on held-out items: ",
        "noise level",
        "held-out at step",
    ):
        assert told in found.out
    record = cli("info", digits, "--health", "--json").json
    assert len(record["health"]["levels"]) == 8
    assert record["health"]["verdict"] == record["verdict"]
    assert "health" not in cli("info", digits, "--json").json
