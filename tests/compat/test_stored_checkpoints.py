"""Checkpoints of every version open, predict what they predicted, and train on as they would have."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from compat import stored_run
from milepost.archive import Archive, write_archive
from milepost.checkpoint import load_checkpoint, save_checkpoint

NUMBERS = stored_run.numbers()
# Everything is computed in double precision, where machines and versions differ by the order of sums: 1e-15 of a value.
# A factor of 10⁴ is left for what adds up in a prediction; dropping any term changes it by far more.
PREDICTION = 1e-11
# Metrics are written with nine digits, and an optimizer divides by small gradients, which enlarges rounding.
METRIC = 1e-7


def test_there_are_stored_checkpoints() -> None:
    assert NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_it_is_sound_and_its_versions_are_noted(number: int) -> None:
    with load_checkpoint(stored_run.paths(number)[0]) as checkpoint:
        noted = stored_run.known(number)["versions"]
        assert checkpoint.verify() == []
        assert {"training_state": checkpoint.version, **checkpoint.record.versions} == {
            name: version for name, version in noted.items() if name != "archive"
        }
        assert checkpoint.record.step == stored_run.STEP
        assert checkpoint.what_to_install.startswith("install milepost >= ")


@pytest.mark.parametrize("number", NUMBERS)
def test_it_predicts_what_it_predicted(number: int) -> None:
    expected = stored_run.known(number)["predictions"]
    found = stored_run.predictions(stored_run.paths(number)[0])
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        energy, forces = values["energy"], np.array(values["forces"])
        assert np.abs(forces).max() > 1e-3, "these forces prove nothing"
        assert found[name]["energy"] == pytest.approx(energy, rel=PREDICTION, abs=PREDICTION)
        assert np.array(found[name]["forces"]) == pytest.approx(forces, rel=PREDICTION, abs=PREDICTION)


@pytest.mark.parametrize("number", NUMBERS)
def test_its_training_goes_on_as_it_would_have(number: int, tmp_path: Path) -> None:
    shutil.copyfile(stored_run.paths(number)[0], tmp_path / "stored.ckpt")
    directory = stored_run.run(tmp_path, tmp_path / "stored.ckpt")
    assert disagreements(stored_run.known(number)["continued"], stored_run.later_metrics(directory)) == []


def disagreements(expected: list[dict[str, float]], found: list[dict[str, float]]) -> list[str]:
    """List the metrics that differ by more than rounding explains."""
    if [row["step"] for row in expected] != [row["step"] for row in found]:
        return ["steps"]
    return [
        f"step {row['step']:g}, {name}: expected {value}, found {other[name]}"
        for row, other in zip(expected, found, strict=True)
        for name, value in row.items()
        if not abs(other[name] - value) <= METRIC * max(abs(value), 1e-3)
    ]


@pytest.mark.parametrize("part", ["optimizer", "position", "ema", "model"])
def test_a_part_that_is_not_what_it_was_is_noticed(part: str, tmp_path: Path) -> None:
    number = NUMBERS[-1]
    with load_checkpoint(stored_run.paths(number)[0]) as checkpoint:
        state = {name: checkpoint.state(name) for name in checkpoint.components}
        if part == "optimizer":
            for moments in state[part]["state"].values():
                moments["exp_avg"] *= 1.001
        elif part == "position":
            state[part]["sums"]["loss"] *= 1.001
        else:
            state[part]["network.embedding"] *= 1.001
        save_checkpoint(tmp_path / "x.ckpt", state, options_yaml=checkpoint.options_yaml, record=checkpoint.record)
    directory = stored_run.run(tmp_path, tmp_path / "x.ckpt")
    assert disagreements(stored_run.known(number)["continued"], stored_run.later_metrics(directory))


def test_the_stored_metrics_are_of_several_evaluations() -> None:
    for number in NUMBERS:
        rows = stored_run.known(number)["continued"]
        assert len(rows) == 3
        assert all(json.dumps(row) != json.dumps(rows[0]) for row in rows[1:])
        assert {"step", "training/loss", "validation/loss"} <= set(rows[0])


@pytest.mark.parametrize("number", NUMBERS)
def test_saving_what_was_loaded_gives_the_same_bytes(number: int, tmp_path: Path) -> None:
    path = stored_run.paths(number)[0]
    with Archive.open(path) as archive:
        manifest = archive.manifest
        if stored_run.known(number)["versions"]["archive"] != stored_run.versions()["archive"]:
            pytest.skip("the container has another form today")
        write_archive(
            tmp_path / "x",
            kind=manifest.kind,
            components={name: archive.tree(name) for name in manifest.components},
            files={name: archive.file(name) for name in manifest.files},
            manifest=manifest.extra,
            durability="process",
        )
    assert (tmp_path / "x").read_bytes() == path.read_bytes()
