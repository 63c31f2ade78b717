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
