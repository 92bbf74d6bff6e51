"""`milepost verify` says in one line how each file is, and in its status whether all are sound."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import tiny
from milepost.checkpoint import save_checkpoint
from unit.archive.conftest import Forgery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Save a sound checkpoint and one with a damaged tensor and a damaged file."""
    for name in ("a.ckpt", "b.ckpt"):
        model = {"first": torch.ones(4), "second": torch.full((4,), 2.0)}
        save_checkpoint(tmp_path / name, {"model": model}, options_yaml="seed: 1\n", durability="process")
    content = bytearray((tmp_path / "b.ckpt").read_bytes())
    for place in (torch.full((4,), 2.0).numpy().tobytes(), b"seed: 1\n"):
        content[content.index(place)] ^= 1
    (tmp_path / "b.ckpt").write_bytes(content)
    return tmp_path


def test_sound_files(milepost, folder: Path) -> None:
    ended = milepost("verify", folder / "a.ckpt")
    assert ended.status == 0
    assert ended.err == ""
    assert ended.out == f"sound       {folder}/a.ckpt\n1 file: 1 sound\n"


def test_damage_names_entry_and_tensor(milepost, folder: Path) -> None:
    (folder / "c.ckpt").write_bytes(b"\x80\x02" + bytes(10))
    (folder / "notes.txt").write_text("hello")
    ended = milepost("verify", folder, folder / "none*")
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"sound       {folder}/a.ckpt",
        f"damaged     {folder}/b.ckpt: model.safetensors, tensor 'second'; options.yaml",
        f"not ours    {folder}/c.ckpt: a pickle",
        f"missing     {folder}/none*: expected files that match '{folder}/none*', found none. Check the pattern.",
        "3 files: 1 sound, 1 damaged, 1 not ours, 1 missing",
    ]


def test_what_is_against_the_format_says_why(milepost, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    forged = Forgery([("m.json", b'{"a": 1, "a": 2}'), ("n.json", b'{"$set": []}')], components=["m", "n"])
    path.write_bytes(forged.bytes())
    ended = milepost("verify", path)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"damaged     {path}: m.json: the key 'a' occurs twice in one object; "
        "n.json: the notation '$set' is not used as the format allows",
        "1 file: 1 damaged",
    ]


def test_a_file_that_cannot_be_opened_says_why(milepost, folder: Path) -> None:
    path = folder / "a.ckpt"
    path.write_bytes(path.read_bytes()[:-1])
    ended = milepost("verify", path)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"damaged     {path}: its last bytes are missing or changed: it was truncated, extended or changed. "
        "Use an earlier file or another copy.",
        "1 file: 1 damaged",
    ]


def test_an_exported_model_holds_no_digests(milepost, tmp_path: Path) -> None:
    path = shutil.copy(tiny.scripted(), tmp_path / "model.pt")
    assert milepost("verify", path).out.splitlines()[0] == (
        f"not ours    {path}: an exported model: this kind of file holds no digests"
    )
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "other.pt")
    assert milepost("verify", tmp_path / "other.pt").out.splitlines()[0] == (
        f"not ours    {tmp_path}/other.pt: a TorchScript program that Milepost did not export"
    )
    with zipfile.ZipFile(tmp_path / "other.pt", "a") as archive:
        archive.writestr("other/extra/milepost.json", "[")
    ended = milepost("verify", tmp_path / "other.pt")
    assert ended.status == 1
    assert f"not ours    {tmp_path}/other.pt: could not open '{tmp_path}/other.pt': its record is no JSON" in ended.out


def test_json(milepost, folder: Path) -> None:
    ended = milepost("verify", "--json", folder)
    assert ended.status == 1
    found = json.loads(ended.out)
    assert found["counts"] == {
        "sound": 1, "damaged": 1, "not ours": 0, "too new": 0, "unreadable": 0, "missing": 0,
    }  # fmt: skip
    sound, damaged = found["files"]
    assert sound.pop("digest").startswith("blake3:")
    assert sound == {
        "path": str(folder / "a.ckpt"),
        "state": "sound",
        "kind": "checkpoint",
        "damages": [],
        "reason": None,
    }
    assert [(row["entry"], row["tensor"]) for row in damaged["damages"]] == [
        ("model.safetensors", "second"),
        ("options.yaml", None),
    ]
    assert damaged["damages"][0]["reason"].startswith("expected digest ")


def test_nothing_there_is_an_error(milepost, tmp_path: Path) -> None:
    ended = milepost("verify", tmp_path)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"missing     {tmp_path}: expected files that milepost wrote below the folder '{tmp_path}', found none. "
        "Check the path.",
        "0 files: 1 missing",
    ]


def test_a_path_is_needed(milepost) -> None:
    ended = milepost("verify")
    assert ended.status == 2
    assert "Missing argument 'PATH...'" in ended.err


def test_files_are_verified_without_torch(folder: Path) -> None:
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        f"    main(['verify', {str(folder)!r}])\n"
        "except SystemExit as ending:\n"
        "    print(ending.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "1 False"
