"""`milepost show` says what is in a file, and what another file looks like."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

import tiny
from milepost.archive import TensorRow
from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.cli.contents import modules
from milepost.cli.show import page
from milepost.errors import NotAnArchiveError

PARENT = "blake3:" + 64 * "a"


@pytest.fixture
def checkpoint(tmp_path):
    """Save a checkpoint with everything that can be shown."""
    record = CheckpointRecord(
        run_id="0123456789abcdef",
        step=1234,
        epoch=5,
        parents=(PARENT,),
        metrics={"validation/loss": 0.25, "validation/bound": float("inf")},
        metadata={
            "architecture": "cairn",
            "metadata": {
                "name": "ethanol",
                "authors": ["A. Author", "B. Author"],
                "references": {"model": ["doi:1"]},
            },
        },
        environment={"python": "3.11", "threads": 2},
        versions={"cairn": 1},
        created="2026-01-31T12:00:00+00:00",
    )
    model = {
        "a.weight": torch.zeros(3, 2),
        "a.bias": torch.zeros(3, dtype=torch.float64),
        "scale": torch.tensor(1.0),
    }
    path = tmp_path / "model.ckpt"
    save_checkpoint(
        path,
        {"model": model, "facts": {"cutoff": 5.0, "atomic_numbers": [1, 6]}, "position": {"step": 1234}},
        options_yaml="seed: 1\narchitecture:\n  name: cairn\n",
        record=record,
        source={"cairn/model.py": b"pass\n"},
    )
    return path


def test_the_page_of_a_checkpoint(milepost, checkpoint) -> None:
    ended = milepost("show", checkpoint)
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[0] == "model.ckpt"
    expected = [
        "  architecture  cairn, version 1",
        "  run           0123456789abcdef",
        "  step          1234",
        "  epoch         5",
        "  created       2026-01-31T12:00:00+00:00",
        f"  started from  {PARENT}",
        "  name     ethanol",
        "  authors  A. Author",
        "           B. Author",
        "    model  doi:1",
        "  validation/loss   0.25",
        "  validation/bound  inf",
        "  cutoff          5",
        "  atomic_numbers  1 6",
        "  python   3.11",
        "  component  tensors   size",
        "  module              tensors  numbers  type",
        "  (the model itself)        1        1  F32",
        "  a                         2        9  F64 F32",
        "  seed: 1",
        "    name: cairn",
    ]
    assert [line for line in expected if line not in lines] == []
    assert any(line.startswith("  kind          checkpoint (format 1), ") for line in lines)
    assert any(line.startswith("  digest        blake3:") for line in lines)
    assert "damage" not in ended.out


def test_json_of_a_checkpoint(milepost, checkpoint) -> None:
    found = json.loads(milepost("show", "--json", checkpoint).out)
    assert found["kind"] == "checkpoint"
    assert found["bytes"] == checkpoint.stat().st_size
    assert found["architecture"] == {"name": "cairn", "version": 1}
    assert found["parents"] == [PARENT]
    assert found["metrics"] == {"validation/loss": 0.25, "validation/bound": "inf"}
    assert found["metadata"]["authors"] == ["A. Author", "B. Author"]
    assert found["source"] == ["source/cairn/model.py"]
    assert found["options"] == "seed: 1\narchitecture:\n  name: cairn\n"
    assert {row["name"]: row["tensors"] for row in found["components"]} == {
        "model": 3,
        "facts": 0,
        "position": 0,
    }
    assert found["parameters"][0] == {"module": "", "tensors": 1, "numbers": 1, "bytes": 4, "dtypes": ["F32"]}
    assert "damage" not in found


def test_the_kind_is_not_told_by_the_name(milepost, checkpoint) -> None:
    renamed = checkpoint.rename(checkpoint.with_name("thing.txt"))
    assert "checkpoint (format 1)" in milepost("show", renamed).out


def test_a_checkpoint_is_shown_without_torch(checkpoint) -> None:
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        f"    main(['show', '--verify', {str(checkpoint)!r}])\n"
        "except SystemExit as ending:\n"
        "    print(ending.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False"


def test_verifying_a_sound_file(milepost, checkpoint) -> None:
    ended = milepost("show", "--verify", checkpoint)
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == "verified: every byte is the one that was written"
    assert json.loads(milepost("show", "--verify", "--json", checkpoint).out)["damage"] == []


def test_verifying_a_damaged_file_names_the_tensor(milepost, checkpoint) -> None:
    data = bytearray(checkpoint.read_bytes())
    place = data.index(b"model.safetensors")
    start = data.index(bytes(24), place + 200)
    data[start + 4] ^= 1
    checkpoint.write_bytes(data)
    assert milepost("show", checkpoint).status == 0
    ended = milepost("show", "--verify", checkpoint)
    assert ended.status == 1
    lines = ended.out.splitlines()
    assert lines[lines.index("damaged:") + 1].startswith("  model.safetensors, tensor 'a.")


def test_an_exported_model(milepost, tmp_path) -> None:
    path = shutil.copy(tiny.scripted(), tmp_path / "model.pt")
    ended = milepost("show", path)
    assert ended.status == 0
    assert "exported model (metatomic)" in ended.out
    assert "  made from     blake3:" in ended.out
    assert "largest deviation from the trained model" in ended.out
    assert "tiny" in ended.out
    found = json.loads(milepost("show", "--json", path).out)
    assert found["kind"] == "exported model"
    assert found["run_id"] == tiny.RUN
    assert found["metadata"]["name"] == "tiny"
    assert milepost("show", "--verify", path).out.splitlines()[-1] == (
        "not verified: this kind of file holds no digests"
    )


def test_another_file_is_described(milepost, tmp_path) -> None:
    path = tmp_path / "options.ckpt"
    path.write_text("architecture:\n  name: cairn\n", encoding="utf-8")
    ended = milepost("show", path)
    assert ended.status == 1
    assert ended.out == ""
    assert "expected a checkpoint or an exported model, found an options file" in ended.err


def test_a_truncated_checkpoint_is_called_damaged(milepost, checkpoint) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    ended = milepost("show", checkpoint)
    assert ended.status == 1
    assert "its last bytes are missing or changed" in ended.err


def test_no_file(milepost, tmp_path) -> None:
    ended = milepost("show", tmp_path / "none.ckpt")
    assert ended.status == 1
    assert "No such file or directory" in ended.err


def test_the_directory_of_a_run_names_its_latest_checkpoint(milepost, tmp_path, checkpoint) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for step in (4, 12):
        shutil.copy(checkpoint, folder / f"step-{step:08}.ckpt")
    ended = milepost("show", tmp_path / "run")
    assert ended.status == 1
    assert f"found a directory. Give one of its files, as '{folder / 'step-00000012.ckpt'}'" in ended.err
    (tmp_path / "empty").mkdir()
    assert "Give a file in it." in milepost("show", tmp_path / "empty").err


def test_modules_are_summed_in_the_order_of_their_names() -> None:
    rows = [
        TensorRow("net.b.weight", "F32", (2, 3), 24, ""),
        TensorRow("net.b1.weight", "F32", (4,), 16, ""),
        TensorRow("net.b.bias", "F64", (2,), 16, ""),
        TensorRow("net.weight", "F32", (), 4, ""),
    ]
    found = modules(rows)
    assert [row["module"] for row in found] == ["net", "net.b", "net.b1"]
    assert found[1] == {"module": "net.b", "tensors": 2, "numbers": 8, "bytes": 40, "dtypes": ["F32", "F64"]}


def test_a_file_with_nothing_in_it_has_a_page() -> None:
    lines = list(page({"file": "x", "kind": "package", "bytes": 2_500_000, "format_version": 1, "metadata": {}}))
    assert lines == ["x", "  kind  package (format 1), 2.5 MB"]


def test_describing_raises_for_other_files(tmp_path) -> None:
    from milepost.cli.contents import damages, describe

    path = tmp_path / "x"
    path.touch()
    with pytest.raises(NotAnArchiveError, match="found an empty file"):
        describe(path)
    assert damages(path) is None
