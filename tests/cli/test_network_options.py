"""A network and an augmentation by name, from the command line."""

import re

import pytest

from driftback.recipes.config import read


def test_a_network_and_an_augmentation_are_trained_and_told(cli, tmp_path) -> None:
    run = tmp_path / "run"
    words = ("digits", "--n", 60, "--steps", 1, "--batch", 8, "--out", run)
    fitted = cli("fit", *words, "--network", "dit-tiny", "--augment", "shift")
    assert fitted.code == 0
    assert re.search(r"network: dit tiny 64, [\d,]+ parameters, [\d.]+ MFLOP per item", fitted.err)
    assert read(run).plan.augment == ("shift",)
    about = cli("info", run, "--json").json
    assert (about["network"], about["preset"], about["augment"]) == ("dit 64", "tiny", ["shift"])
    assert about["flops_of_training"] == 3 * 8 * about["flops_per_item"]
    refused = cli("fit", *words[:3], "--out", run, "--resume", "--network", "unet")
    assert "was planned with a network of kind dit" in refused.error


def test_the_reason_for_a_preset_is_told(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("driftback.recipes.prepare.seconds_per_step", lambda *given, **options: 0.5)
    fitted = cli("fit", "digits", "--n", 60, "--minutes", 0.1, "--batch", 8, "--out", tmp_path / "run")
    assert "preset small: 16 pictures a second measured" in fitted.err
    assert "it wants" in fitted.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--network", "resnet"), "there is no network 'resnet' (did you mean unet?); choose one of unet, dit, tiny"),
        (("--network", "mlp"), "a network of kind mlp is not for pictures; choose --network unet or dit"),
        (("--augment", "turn"), "there is no augmentation 'turn'; choose one of none, flip, shift"),
    ],
)
def test_other_names_are_told_in_a_line(cli, tmp_path, words, told) -> None:
    refused = cli("fit", "digits", "--steps", 1, "--out", tmp_path / "run", *words)
    assert refused.code == 2
    assert told in refused.error
