"""Older training states open as ones of today, and newer ones name the version to install."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import write_archive
from milepost.checkpoint import CheckpointRecord, environment, load_checkpoint, save_checkpoint
from milepost.checkpoint.record import manifest_keys, read_record
from milepost.checkpoint.upgrades import (
    TRAINING_STATE_VERSION,
    UPGRADES,
    Made,
    UpgradeStep,
    described_tensors,
    saved_version,
    what_to_install,
)
from milepost.errors import ArchiveError, StateMismatchError, UnsupportedVersionError

RECORD = CheckpointRecord("run-1", step=7, created="2026-01-01T00:00:00+00:00")
NEW = manifest_keys(RECORD)


def steps_become_step(keys: dict[str, Any]) -> dict[str, Any]:
    keys["step"] = keys.pop("steps")
    return keys


def by_name(old: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Key the moments by name where they were keyed by position, and take them apart while doing so."""
    return {name: old.pop(position) for position, name in enumerate(model)}


STEP = UpgradeStep(
    keys=steps_become_step,
    made={
        "optimizer": Made(("optim", "model"), by_name),
        "schedule": Made((), lambda: {"reduction": 1.0}),
        "ema": Made(("average",), lambda tree: tree),
    },
    dropped=frozenset({"optim", "average"}),
)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file of version 0, which a step leads from."""
    monkeypatch.setitem(UPGRADES, 0, STEP)
    return write_old(tmp_path / "old.ckpt", 0)


def write_old(path: Path, version: int, optim: Any = None) -> Path:
    keys = {name: value for name, value in NEW.items() if name != "step"}
    keys |= {"steps": 7, "versions": {"training_state": version, "cairn": 1}}
    model = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.ones(3)}
    moments = {0: torch.full((2,), 4.0), 1: torch.full((3,), 5.0)} if optim is None else optim
    write_archive(path, kind="checkpoint", components={"model": model, "optim": moments}, manifest=keys)
    return path


def test_every_version_before_todays_has_its_step() -> None:
    assert sorted(UPGRADES) == list(range(1, TRAINING_STATE_VERSION))


def test_an_old_file_is_one_of_today(old: Path) -> None:
    with load_checkpoint(old) as checkpoint:
        assert checkpoint.version == 0
        assert checkpoint.record.step == 7
        assert checkpoint.record.versions == {"cairn": 1}
        assert checkpoint.components == ("model", "optimizer", "schedule")
        state = checkpoint.state("optimizer")
        assert {name: tensor.tolist() for name, tensor in state.items()} == {"a": [4.0] * 2, "b": [5.0] * 3}
        assert checkpoint.state("optimizer").keys() == state.keys()
        assert checkpoint.state("schedule") == {"reduction": 1.0}
        assert checkpoint.verify() == []


def test_an_old_file_is_restored_and_saved_in_todays_version(old: Path, tmp_path: Path) -> None:
    class Holder:
        state: Any = None

        def state_dict(self) -> Any:
            return self.state

        def load_state_dict(self, state: Any, /) -> None:
            self.state = state

    targets = {name: Holder() for name in ("model", "optimizer", "schedule")}
    with load_checkpoint(old) as checkpoint:
        checkpoint.restore(targets)
        with pytest.raises(StateMismatchError, match="missing: the file has no component 'optim'"):
            checkpoint.restore({"optim": Holder()}, ignore=checkpoint.components)
        record = checkpoint.record
    save_checkpoint(tmp_path / "new.ckpt", targets, options_yaml="", record=record)
    with load_checkpoint(tmp_path / "new.ckpt") as checkpoint:
        assert checkpoint.version == TRAINING_STATE_VERSION
        assert checkpoint.record == replace(record, environment=environment())
        assert checkpoint.state("optimizer")["b"].tolist() == [5.0] * 3


def test_a_component_that_ended_or_never_was_is_refused_by_todays_names(old: Path) -> None:
    with load_checkpoint(old) as checkpoint:
        for name in ("optim", "ema"):
            reason = f"'{name}' of '{old}': its components are model, optimizer, schedule"
            for read in (checkpoint.state, checkpoint.tensor_table):
                with pytest.raises(ArchiveError, match=reason):
                    read(name)


def test_tables_of_tensors_are_those_of_today(old: Path) -> None:
    with load_checkpoint(old) as checkpoint:
        rows = checkpoint.tensor_table("optimizer")
        assert [(row.name, row.dtype, row.shape, row.bytes) for row in rows] == [
            ("a", "F32", (2,), 8),
            ("b", "F32", (3,), 12),
        ]
        assert {row.digest for row in rows} == {""}
        assert all(len(row.digest) == 64 for row in checkpoint.tensor_table("model"))
        tree = checkpoint.state("model")
        assert [row.name for row in described_tensors("model", tree)] == [
            row.name for row in checkpoint.tensor_table("model")
        ]


def test_steps_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def double(tree: dict[int, Any]) -> dict[int, Any]:
        return {key: value * 2 for key, value in tree.items()}

    monkeypatch.setitem(UPGRADES, 0, STEP)
    earlier = UpgradeStep(made={"optim": Made(("optim",), double), "average": Made(("model",), lambda tree: tree)})
    monkeypatch.setitem(UPGRADES, -1, earlier)
    with load_checkpoint(write_old(tmp_path / "older.ckpt", -1)) as checkpoint:
        assert (checkpoint.version, checkpoint.record.step) == (-1, 7)
        assert checkpoint.components == ("model", "optimizer", "schedule", "ema")
        assert checkpoint.state("optimizer")["a"].tolist() == [8.0, 8.0]
        assert checkpoint.state("ema")["b"].tolist() == [1.0] * 3


def test_what_an_upgrade_does_not_touch_is_not_read_for_it(old: Path) -> None:
    content = bytearray(old.read_bytes())
    content[content.index(torch.full((2,), 4.0).numpy().tobytes())] ^= 1
    old.write_bytes(content)
    with load_checkpoint(old) as checkpoint:
        assert set(checkpoint.state("model")) == {"a", "b"}
        with pytest.raises(ArchiveError, match=r"optim\.safetensors, tensor '0'"):
            checkpoint.state("optimizer")


def test_keys_of_the_manifest_are_not_changed_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPGRADES, 0, STEP)
    keys = {key: value for key, value in NEW.items() if key != "step"} | {"steps": 7, "versions": {"training_state": 0}}
    before = repr(keys)
    assert read_record(keys) == RECORD
    assert repr(keys) == before


def test_an_old_file_that_is_not_what_its_version_says_is_refused_where_it_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPGRADES, 0, STEP)
    path = write_old(tmp_path / "x.ckpt", 0, optim={0: 1})
    with load_checkpoint(path) as checkpoint:
        with pytest.raises(ArchiveError) as caught:
            checkpoint.state("optimizer")
    assert str(caught.value) == (
        f"could not load component 'optimizer' of '{path}': it could not be carried from version 0 of the training "
        "state to 1: KeyError: 1. Use another file of the run."
    )
    write_archive(path, kind="checkpoint", components={}, manifest=NEW | {"versions": {"training_state": 0}},
                  overwrite=True)  # fmt: skip
    with pytest.raises(ArchiveError, match=f"could not load '{path}' as a checkpoint: the manifest could not be carri"):
        load_checkpoint(path)


@pytest.mark.parametrize("found", [0, -1, True, 1.0, "1", None])
def test_a_version_that_never_was_is_refused(found: object) -> None:
    with pytest.raises(ArchiveError, match=r"expected versions\.training_state, found"):
        saved_version({"versions": {"training_state": found}})


def test_a_newer_file_is_refused_with_the_version_to_install_before_anything_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "newer.ckpt"
    keys = {"versions": {"training_state": 9}, "written_by": "milepost 12.0.1rc1", "step": "another thing"}
    write_archive(path, kind="checkpoint", components={}, manifest=keys)
    with pytest.raises(UnsupportedVersionError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"could not load '{path}' as a checkpoint: its training state has version 9, "
        f"expected at most {TRAINING_STATE_VERSION}: install milepost >= 12.0.1rc1, which wrote it"
    )


def test_a_file_says_which_version_wrote_it(tmp_path: Path) -> None:
    from milepost.archive import Archive
    from milepost.checkpoint.environment import milepost_version

    save_checkpoint(tmp_path / "x.ckpt", {}, options_yaml="", record=RECORD)
    with Archive.open(tmp_path / "x.ckpt") as archive:
        assert archive.manifest.extra["written_by"] == f"milepost {milepost_version()}"
        assert what_to_install(archive.manifest.extra) == f"install milepost >= {milepost_version()}, which wrote it"


@pytest.mark.parametrize("writer", [None, 3, "", "milepost", "milepost 1\x1b[2J", "milepost 1; rm -rf", "other 1.0"])
def test_nothing_but_a_version_is_repeated_from_a_file(writer: object) -> None:
    assert what_to_install({"written_by": writer}) == "install a newer milepost"
