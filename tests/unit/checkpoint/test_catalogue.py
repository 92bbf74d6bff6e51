"""A folder is what a scan of its files says; the newest sound one is found; only one's own files go."""

import os
import shutil
from pathlib import Path

import pytest

from milepost.archive import write_archive
from milepost.checkpoint import (
    CheckpointRecord,
    KeepBest,
    KeepLast,
    checkpoint_name,
    describe_checkpoint,
    discard_drafts,
    list_checkpoints,
    mark_latest,
    newest_verified,
    retire,
    save_checkpoint,
)
from milepost.checkpoint.catalogue import check_replaceable, check_versions
from milepost.checkpoint.record import manifest_keys
from milepost.errors import DamagedArchiveError, OverwriteError, UnsupportedVersionError


def save(folder: Path, step: int, run_id: str = "mine", name: str | None = None, loss: float = 1.0) -> Path:
    path = folder / (name or checkpoint_name(step))
    record = CheckpointRecord(run_id, step, metrics={"loss": loss}, created="2026-01-01T00:00:00+00:00")
    save_checkpoint(path, {"x": [step]}, options_yaml="seed: 1\n", record=record, durability="process")
    return path


def damage(path: Path) -> None:
    """Change one bit of the options, which opening does not read."""
    content = bytearray(path.read_bytes())
    content[content.index(b"seed: 1\n")] ^= 1
    path.write_bytes(content)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_names_sort_as_steps_do():
    assert checkpoint_name(1234) == "step-00001234.ckpt"
    assert sorted([checkpoint_name(100), checkpoint_name(20)]) == [checkpoint_name(20), checkpoint_name(100)]


def test_the_list_is_of_checkpoints_by_content(tmp_path: Path):
    save(tmp_path, 20)
    save(tmp_path, 100, name="moved.bin")
    save(tmp_path, 3, run_id="other", name="b.ckpt")
    write_archive(tmp_path / "package.zip", kind="package", components={})
    (tmp_path / ".step.ckpt.01234567.draft").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "scaler.ckpt").write_bytes(b"something else")
    (tmp_path / "link.ckpt").symlink_to("moved.bin")
    (tmp_path / "folder.ckpt").mkdir()
    mark_latest(tmp_path / "moved.bin")
    entries = list_checkpoints(tmp_path)
    assert [(e.path.name, e.run_id, e.step) for e in entries] == [
        ("scaler.ckpt", None, -1),
        ("b.ckpt", "other", 3),
        ("step-00000020.ckpt", "mine", 20),
        ("moved.bin", "mine", 100),
    ]
    assert "expected a Milepost archive, found another format" in entries[0].damage[0]
    assert not any(entry.verified for entry in entries)
    assert [e.verified for e in list_checkpoints(tmp_path, verify=True)] == [False, True, True, True]


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path):
    assert list_checkpoints(tmp_path / "absent") == []
    assert newest_verified(tmp_path / "absent") == (None, [])
    assert discard_drafts(tmp_path / "absent") == []


def test_the_furthest_sound_one_is_found_whatever_its_time_and_name(tmp_path: Path):
    furthest = save(tmp_path, 50, name="a.ckpt")
    os.utime(furthest, (1, 1))
    save(tmp_path, 7, name="z.ckpt")
    mark_latest(tmp_path / "z.ckpt")
    assert newest_verified(tmp_path) == (furthest, [])


def test_damaged_ones_are_passed_over_and_named(tmp_path: Path):
    good = save(tmp_path, 1)
    damage(save(tmp_path, 2))
    cut = save(tmp_path, 3)
    os.truncate(cut, 200)
    (tmp_path / "empty.ckpt").touch()
    path, damaged = newest_verified(tmp_path, "mine")
    assert path == good
    reasons = {entry.path.name: entry.damage[0] for entry in damaged}
    assert reasons["step-00000002.ckpt"].startswith("options.yaml: expected digest")
    assert "its last bytes are missing" in reasons["step-00000003.ckpt"]
    assert "it is empty" in reasons["empty.ckpt"]
    assert len(reasons) == 3


def test_with_a_run_only_its_own_are_found(tmp_path: Path):
    save(tmp_path, 9, run_id="other", name="o.ckpt")
    mine = save(tmp_path, 2)
    assert newest_verified(tmp_path, "mine")[0] == mine
    assert newest_verified(tmp_path)[0] == tmp_path / "o.ckpt"
    assert newest_verified(tmp_path, "third") == (None, [])


def newer_container(path: Path) -> Path:
    """Make a file one of a later container, in which nothing else can be known."""
    path.write_bytes(path.read_bytes().replace(b"milepost-archive 0001", b"milepost-archive 0002"))
    return path


def newer_state(path: Path, run_id: str = "mine") -> Path:
    """Write a file of a later training state."""
    keys = manifest_keys(CheckpointRecord(run_id, 9)) | {"written_by": "milepost 7.1", "step": {"of": "later"}}
    write_archive(path, kind="checkpoint", components={}, manifest=keys | {"versions": {"training_state": 99}})
    return path


@pytest.mark.parametrize("make", [lambda p: newer_container(save(p.parent, 4, name=p.name)), newer_state])
@pytest.mark.parametrize("run_id", [None, "mine"])
def test_a_file_of_a_newer_version_is_never_passed_over(tmp_path: Path, make, run_id: str | None):
    save(tmp_path, 3)
    newer = make(tmp_path / "newer.ckpt")
    entry = describe_checkpoint(newer)
    assert entry is not None
    assert (entry.too_new, entry.record, entry.verified) == (True, None, False)
    for look in (newest_verified, check_versions):
        with pytest.raises(UnsupportedVersionError, match=rf"in '{tmp_path}': .*{newer}.*[Ii]nstall .*milepost"):
            look(tmp_path, run_id)


def test_the_version_to_install_is_that_which_wrote_the_file(tmp_path: Path):
    newer_state(tmp_path / "newer.ckpt")
    with pytest.raises(UnsupportedVersionError, match=r"install milepost >= 7\.1, which wrote it"):
        newest_verified(tmp_path, "mine")


def test_a_newer_file_of_another_run_or_program_is_in_nobodys_way(tmp_path: Path):
    mine = save(tmp_path, 3)
    newer_state(tmp_path / "theirs.ckpt", "theirs")
    (tmp_path / "lightning.ckpt").write_bytes(b"PK\x03\x04 of another program")
    path, damaged = newest_verified(tmp_path, "mine")
    assert path == mine
    assert names([entry.path for entry in damaged]) == ["lightning.ckpt"]
    check_versions(tmp_path, "mine")
    with pytest.raises(UnsupportedVersionError):
        newest_verified(tmp_path, "theirs")


def test_a_newer_file_is_not_retired(tmp_path: Path):
    newer = newer_state(tmp_path / "newer.ckpt")
    save(tmp_path, 1)
    assert names(retire(tmp_path, "mine", [KeepLast(1)], save(tmp_path, 2))) == [checkpoint_name(1)]
    assert newer.exists()


def test_newer_files_and_those_of_other_runs_are_not_to_be_replaced(tmp_path: Path):
    own, bad = save(tmp_path, 1), save(tmp_path, 2)
    os.truncate(bad, 100)
    for path in (own, bad, tmp_path / "absent.ckpt"):
        check_replaceable(path, "mine")
    with pytest.raises(UnsupportedVersionError, match=r"could not replace .*[Ii]nstall .*milepost"):
        check_replaceable(newer_container(save(tmp_path, 3)), "mine")
    with pytest.raises(OverwriteError, match="expected a checkpoint of run 'mine', found one of run 'other'"):
        check_replaceable(save(tmp_path, 4, run_id="other"), "mine")
    check_replaceable(tmp_path / checkpoint_name(4))


def test_the_latest_file_names_and_is_replaced(tmp_path: Path):
    mark_latest(save(tmp_path, 1))
    mark_latest(save(tmp_path, 2))
    assert (tmp_path / "latest").read_text() == "step-00000002.ckpt\n"


def test_retiring_removes_what_no_policy_keeps_of_this_run_alone(tmp_path: Path):
    for step, loss in ((1, 5.0), (2, 1.0), (3, 2.0), (4, 3.0), (5, 4.0)):
        save(tmp_path, step, loss=loss)
    save(tmp_path, 1, run_id="other", name="other.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"?")
    retired = retire(tmp_path, "mine", [KeepLast(2), KeepBest(1, "loss")], tmp_path / checkpoint_name(5))
    assert names(retired) == [checkpoint_name(1), checkpoint_name(3)]
    assert sorted(names(list(tmp_path.iterdir()))) == [
        "damaged.ckpt", "other.ckpt", checkpoint_name(2), checkpoint_name(4), checkpoint_name(5),
    ]  # fmt: skip


def test_the_successor_stays_whatever_the_policies_say(tmp_path: Path):
    save(tmp_path, 1)
    successor = save(tmp_path, 2)
    assert names(retire(tmp_path, "mine", [KeepLast(0)], successor)) == [checkpoint_name(1)]
    assert newest_verified(tmp_path) == (successor, [])


def test_without_policies_everything_stays(tmp_path: Path):
    save(tmp_path, 1)
    assert retire(tmp_path, "mine", [], save(tmp_path, 2)) == []
    assert len(list_checkpoints(tmp_path)) == 2


def test_nothing_is_retired_for_a_successor_that_is_damaged_missing_or_anothers(tmp_path: Path):
    save(tmp_path, 1)
    bad = save(tmp_path, 2)
    damage(bad)
    with pytest.raises(
        DamagedArchiveError, match=rf"after '{bad}': it is damaged, so everything is kept: options.yaml"
    ):
        retire(tmp_path, "mine", [KeepLast(1)], bad)
    other = save(tmp_path, 3, run_id="other")
    with pytest.raises(ValueError, match="expected a checkpoint of run 'mine', found one of run 'other'"):
        retire(tmp_path, "mine", [KeepLast(1)], other)
    with pytest.raises(FileNotFoundError):
        retire(tmp_path, "mine", [KeepLast(1)], tmp_path / "absent.ckpt")
    assert len(list_checkpoints(tmp_path)) == 3


def test_files_without_a_run_are_nobodys_to_retire(tmp_path: Path):
    for step in (1, 2):
        save(tmp_path, step, run_id="")
    with pytest.raises(ValueError, match=rf"retire files in '{tmp_path}': expected a run, found an empty run_id"):
        retire(tmp_path, "", [KeepLast(1)], save(tmp_path, 3, run_id=""))
    assert len(list_checkpoints(tmp_path)) == 3


def test_what_another_process_retired_first_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Let a process of the same run remove a file before and after it is compared with the successor."""
    first, second, successor = (save(tmp_path, step) for step in (1, 2, 3))
    compared = Path.samefile

    def raced(path: Path, other: Path) -> bool:
        if path == first:
            first.unlink()
        try:
            return compared(path, other)
        finally:
            if path == second:
                second.unlink()

    monkeypatch.setattr(Path, "samefile", raced)
    assert retire(tmp_path, "mine", [KeepLast(1)], successor) == [first, second]
    assert names(list(tmp_path.iterdir())) == [successor.name]


def test_a_damaged_checkpoint_of_this_run_does_not_push_a_sound_one_out(tmp_path: Path):
    sound = save(tmp_path, 1)
    os.truncate(save(tmp_path, 2), 100)
    successor = save(tmp_path, 3)
    assert retire(tmp_path, "mine", [KeepLast(2)], successor) == []
    assert sound.exists()


def test_a_successor_in_another_folder_is_never_mixed_up(tmp_path: Path):
    (tmp_path / "run").mkdir()
    first = save(tmp_path / "run", 1)
    elsewhere = tmp_path / first.name
    shutil.copy(first, elsewhere)
    save(tmp_path / "run", 2)
    assert names(retire(tmp_path / "run", "mine", [KeepLast(1)], elsewhere)) == [checkpoint_name(1)]
    assert elsewhere.exists()


def test_drafts_of_dead_writers_are_discarded(tmp_path: Path):
    kept = save(tmp_path, 1)
    draft = tmp_path / ".step-00000002.ckpt.01234567.draft"
    draft.write_bytes(b"half")
    assert discard_drafts(tmp_path, of="another.ckpt") == []
    assert discard_drafts(tmp_path) == [draft]
    assert list(tmp_path.iterdir()) == [kept]


def test_one_file_is_described_as_in_the_list(tmp_path):
    save(tmp_path, 3, name="a.ckpt")
    (tmp_path / "link.ckpt").symlink_to(tmp_path / "a.ckpt")
    (entry,) = list_checkpoints(tmp_path)
    assert describe_checkpoint(tmp_path / "a.ckpt") == entry
    assert describe_checkpoint(tmp_path / "link.ckpt") is None
    assert describe_checkpoint(tmp_path / "none.ckpt") is None
