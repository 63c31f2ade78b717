"""`driftback verify` tells a table, one JSON object with the promised keys, and a status; a user's file in one line."""

import pytest

FOUND = ["subject", "kind", "passed", "conclusion", "checks"]
CHECK = ["name", "value", "low", "high", "expected", "standard_error", "n", "verdict"]


def test_a_right_one_passes(cli) -> None:
    result = cli("verify", "exact", "--json")
    assert result.code == 0
    found = result.json
    assert list(found) == FOUND
    assert (found["subject"], found["kind"], found["passed"]) == ("exact", "score", True)
    assert all(list(check) == CHECK for check in found["checks"])
    table = cli("verify", "exact")
    assert "passes inside" in table.out
    assert "passes every check" in table.out


def test_a_wrong_one_leaves_with_one(cli) -> None:
    result = cli("verify", "faulty:stretched-score", "--json")
    assert result.code == 1
    assert result.json["passed"] is False
    assert "FAIL" in cli("verify", "faulty:stretched-score").out


def test_the_names_are_listed(cli) -> None:
    names = cli("verify", "--json").json["names"]
    assert all(list(name) == ["name", "kind", "claims", "source"] for name in names)
    by_name = {name["name"]: name for name in names}
    assert by_name["heun"]["claims"] == "order 2"
    assert "2206.00364" in by_name["heun"]["source"]
    assert {"vp", "recorded", "faulty:churn"} <= set(by_name)
    assert "faulty:churn" in cli("verify").out


@pytest.mark.parametrize("words", [("nothing",), ("no.py",), ("heun", "--all"), ("--all", "--faulty")])
def test_what_cannot_be_verified_is_told(cli, words) -> None:
    result = cli("verify", *words)
    assert result.code == 2
    assert result.error


SCORE = """
import torch
from driftback.evaluation.verification import TARGET
print("hello")

def denoised(x, alpha, sigma):
    return FACTOR * TARGET.denoised(x, alpha, sigma)
"""


@pytest.mark.parametrize(("factor", "code"), [("1.0", 0), ("1.02", 1)])
def test_a_users_file_is_verified(cli, tmp_path, factor, code) -> None:
    (tmp_path / "mine.py").write_text(SCORE.replace("FACTOR", factor), "utf-8")
    result = cli("verify", tmp_path / "mine.py", "--json")
    assert result.code == code
    assert result.json["subject"] == "mine.py: denoised"
    assert "hello" in result.err


def test_a_file_with_two_things_has_two_verdicts(cli, tmp_path) -> None:
    more = "\n\nfrom driftback.processes import VP\nschedule = VP\n"
    (tmp_path / "both.py").write_text(SCORE.replace("FACTOR", "1.0") + more, "utf-8")
    found = cli("verify", tmp_path / "both.py", "--json").json
    assert [one["kind"] for one in found["subjects"]] == ["score", "process"]


BROKEN = {
    "def denoised(x, alpha, sigma)\n    return x\n": ("line 1", "SyntaxError"),
    "\n\nimport no_such_thing\n": ("line 3", "no_such_thing"),
    "x = 1\n": ("none of sampler", ""),
    "\ndef denoised(x, alpha, sigma):\n    y = x\n    return y @ y\n": ("line 4", "RuntimeError"),
    "\ndef denoised(x, alpha, sigma):\n    return x[:, 0]\n": ("line 2", "shape"),
    "\ndef score(x, alpha, sigma):\n    return x * float('nan')\n": ("line 2", "not finite"),
    "def sampler(denoiser):\n    def way(x, times, *, rng=None):\n        yield 1 / 0\n    return way\n": (
        "line 3",
        "Zero",
    ),
    "def sampler(denoiser):\n    return 3\n": ("not callable", ""),
    "order = 'two'\ndef sampler(denoiser):\n    return 3\n": ("whole number", ""),
    "process = 3\n": ("forward and bridge", ""),
    "raise SystemExit(3)\n": ("line 1", "SystemExit"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_told_in_one_line(cli, tmp_path, text) -> None:
    (tmp_path / "mine.py").write_text(text, "utf-8")
    result = cli("verify", tmp_path / "mine.py")
    assert result.code == 2
    assert "mine.py" in result.error
    assert all(part in result.error for part in BROKEN[text]), result.error


def test_a_model_is_diagnosed(cli, moons, monkeypatch) -> None:
    monkeypatch.setattr("driftback.recipes.known_target.FRESH", 1000)
    result = cli("verify", moons, "--json")
    assert result.code == 1
    assert list(result.json) == FOUND
    assert result.json["kind"] == "model"
    assert "score error" in result.json["conclusion"]
    assert all(list(check) == CHECK for check in result.json["checks"])


def test_pictures_with_classes_are_diagnosed(cli, digits, monkeypatch) -> None:
    monkeypatch.setattr("driftback.recipes.diagnose.FEWEST", 16)
    from driftback.recipes.diagnose import diagnose
    from driftback.recipes.evaluate import original
    from driftback.recipes.model import load

    model = load(digits)
    found = diagnose(model, original(model.config), n=16, steps=2)
    assert not found.passed
    assert "stand-in" in found.conclusion


def test_a_folder_that_is_no_model_is_told(cli, tmp_path) -> None:
    result = cli("verify", tmp_path)
    assert result.code == 3
    assert "config.json" in result.error


def test_a_file_beside_is_imported_and_the_line_is_told_for_a_relative_path(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper_beside.py").write_text("FACTOR = 1.0\n")
    (tmp_path / "mine.py").write_text(
        "from helper_beside import FACTOR\n\n\ndef denoised(x, alpha, sigma):\n    return FACTOR * x[:, 7]\n"
    )
    done = cli("verify", "mine.py")
    assert done.code == 2
    assert "mine.py, line 5" in done.error
