"""`driftback compare`: a table, one JSON object, a picture."""


def test_the_command_line(cli, tmp_path) -> None:
    picture = tmp_path / "x.png"
    words = ("compare", "two-gaussians", "--budget", 4000, "-n", 100, "--ways", "metropolis,exact score", "--quiet")
    found = cli(*words, "--picture", picture, "--json").json
    assert {"target", "budget", "ways", "log_z", "modes", "picture"} <= set(found)
    assert [way["name"] for way in found["ways"]] == ["metropolis", "exact score"]
    assert picture.stat().st_size > 2000
    before = picture.read_bytes()
    taken = cli(*words, "--picture", picture)
    assert taken.code == 2
    assert cli(*words, "--picture", picture, "--force").code == 0
    assert picture.read_bytes() == before
    text = cli(*words).out
    assert "exact score" in text
    assert "2 of 2" in text
    assert cli("compare", "gmm25", "--picture", "x.jpg").code == 2


DENSITY = "import numpy as np\nevent_shape = (2,)\ndef log_prob(x):\n    return -(x**2).sum(1) / 2\n"
FILE = DENSITY + "def sample(n):\n    return "


def test_a_file_may_know_exact_draws(cli, tmp_path) -> None:
    path = tmp_path / "mine.py"
    words = ("compare", path, "--budget", 2000, "-n", 100, "--ways", "metropolis,recorded-score", "--quiet")
    path.write_text(FILE + "np.random.default_rng(n).normal(size=(n, 2))", "utf-8")
    found = cli(*words, "--json")
    assert found.code == 0, found.err
    assert all(way["sliced"] is not None for way in found.json["ways"])
    path.write_text(FILE + "1 / 0", "utf-8")
    assert "line 6: ZeroDivisionError in sample" in cli(*words).error
    path.write_text(FILE + "np.zeros((3, n))", "utf-8")
    assert "gave shape (3, 100); return 100 points, (100, 2)" in cli(*words).error


def test_where_no_way_can_be_taken_the_status_says_so(cli, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(DENSITY.replace("-(x**2)", "1 / 0 * (x**2)"), "utf-8")
    found = cli("compare", tmp_path / "mine.py", "--budget", 2000, "-n", 100, "--ways", "metropolis,nuts", "--quiet")
    assert found.code == 2
    assert "no way could be taken" in found.error
    assert "metropolis: not taken" in found.out
    assert "floor" not in found.out
