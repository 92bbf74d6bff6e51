"""What killed processes left while they made runs goes; whatever may hold something stays."""

from pathlib import Path

import pytest

from milepost.run.beginnings import clear_beginnings


def run_folder(root: Path, name: str = "12-00-00") -> Path:
    path = root / "2026-01-31" / name
    (path / "checkpoints").mkdir(parents=True)
    return path


def test_a_run_that_never_began_goes(tmp_path: Path) -> None:
    path = run_folder(tmp_path, "12-00-00-2")
    for name in ("lock", "owner.json", ".run.json.01234567.draft", ".owner.json.01234567.draft"):
        (path / name).touch()
    (tmp_path / ".owner.json.01234567.draft").touch()
    (tmp_path / "lock").touch()
    clear_beginnings(tmp_path)
    assert not path.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2026-01-31", "lock"]


@pytest.mark.parametrize("holding", ["run.json", "notes.txt", "checkpoints/step-00000001.ckpt", "more/x"])
def test_a_directory_that_holds_anything_stays(tmp_path: Path, holding: str) -> None:
    path = run_folder(tmp_path)
    (path / holding).parent.mkdir(exist_ok=True)
    (path / holding).touch()
    (path / "lock").touch()
    clear_beginnings(tmp_path)
    assert (path / holding).exists()
    assert (path / "lock").exists()


def test_a_directory_of_another_name_and_a_link_stay(tmp_path: Path) -> None:
    other, target = run_folder(tmp_path, "my-runs"), run_folder(tmp_path / "elsewhere")
    link = tmp_path / "2026-01-31" / "12-00-01"
    link.symlink_to(target)
    clear_beginnings(tmp_path)
    assert other.is_dir()
    assert link.is_symlink()
    assert target.is_dir()
