"""`milepost show` says what is in a file, and what another file looks like."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from types import MappingProxyType

import pytest
import safetensors.torch
import torch

import tiny
from milepost.archive import Entry, Manifest, TensorRow, digest_of, layout, tensorfile, write_archive
from milepost.archive.manifest import manifest_bytes
from milepost.checkpoint import CheckpointRecord, Segment, save_checkpoint
from milepost.checkpoint.record import manifest_keys
from milepost.cli.contents import modules
from milepost.cli.show import page
from milepost.errors import NotAnArchiveError

PARENT = "blake3:" + 64 * "a"
NUMBERS = 10 * 2**30 // 4
"""Numbers of four bytes in 10 GiB."""


@pytest.fixture
def checkpoint(tmp_path):
    """Save a checkpoint with everything that can be shown."""
    record = CheckpointRecord(
        run_id="0123456789abcdef",
        step=1234,
        epoch=5,
        task=2,
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
        "  task          2",
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
        "  container       1",
        "  training_state  1",
        "  cairn           1",
        "  component  tensors   size",
        "  module              tensors  numbers  type",
        "  (the model itself)        1        1  F32",
        "  a                         2        9  F64 F32",
        "  seed: 1",
        "    name: cairn",
    ]
    assert [line for line in expected if line not in lines] == []
    assert any(line.startswith("  kind          checkpoint (format 1), ") for line in lines)
    assert any(line.startswith("  written by    milepost ") for line in lines)
    assert any(line.startswith("  digest        blake3:") for line in lines)
    assert "damage" not in ended.out


def test_json_of_a_checkpoint(milepost, checkpoint) -> None:
    found = json.loads(milepost("show", "--json", checkpoint).out)
    assert found["kind"] == "checkpoint"
    assert found["bytes"] == checkpoint.stat().st_size
    assert found["architecture"] == {"name": "cairn", "version": 1}
    assert found["parents"] == [PARENT]
    assert found["task"] == 2
    assert found["versions"] == {"container": 1, "training_state": 1, "cairn": 1}
    assert found["converted_from"] == {}
    assert found["facts"] == {"cutoff": 5.0, "atomic_numbers": [1, 6]}
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


def test_lineage_by_digest_and_metadata_of_another_loop(milepost, tmp_path) -> None:
    origin = {"kind": "checkpoint", "digest": PARENT}
    record = CheckpointRecord(step=1, metadata={"note": "mine", "converted_from": origin})
    save_checkpoint(
        tmp_path / "a.ckpt", {"state_dict": {"w": torch.ones(2)}, "facts": {"x": torch.ones(1)}}, record=record
    )
    lines = milepost("show", tmp_path / "a.ckpt").out.splitlines()
    expected = [
        f"  converted from  checkpoint {PARENT}",
        "  started from    no other file",
        "  note  mine",
        "  (the model itself)        1        2  F32",
    ]
    assert [line for line in expected if line not in lines] == []
    assert not any(line.startswith(("  run ", "fixed by the data")) for line in lines)


@pytest.mark.parametrize("odd", [3, None, "text", [1, (2,)], {"a": {1: [float("nan")]}}, [{"x": 1}]], ids=str)
def test_an_archive_of_another_writer_is_shown_whatever_it_says(milepost, tmp_path, odd) -> None:
    names = ("run_id", "step", "epoch", "task", "parents", "metrics", "metadata", "environment", "versions", "created")
    keys = dict.fromkeys((*names, "lineage", "written_by"), odd)
    for number, about in enumerate((odd, {"architecture": odd, "metadata": odd, "converted_from": odd})):
        path = tmp_path / f"{number}.ckpt"
        components = {"facts": odd, "model": odd}
        write_archive(path, kind="other", components=components, manifest=keys | {"metadata": about})
        assert milepost("show", path).status == 0
        assert json.loads(milepost("show", "--json", path).out)["kind"] == "other"


def test_facts_that_name_a_tensor_which_is_not_there(milepost, tmp_path) -> None:
    text = b'{"x":{"$tensor":"x"}}'
    path = tmp_path / "a.ckpt"
    contents = {"mimetype": layout.MIMETYPE_CONTENT, "facts.json": text}
    path.write_bytes(b"".join(forged(contents, ("facts",))))
    assert milepost("show", path).status == 0
    assert milepost("show", "--json", path).status == 0


def bytes_read(run) -> int:
    """Count the bytes that reading system calls of this process return while `run` is called."""
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this system does not count what a process reads")

    def count() -> int:
        return int(counter.read_text().splitlines()[0].removeprefix("rchar: "))

    before = count()
    run()
    return count() - before


def sparse(path: Path, head: bytes, tail: bytes = b"", *, hole: int) -> Path:
    """Write a file with a hole of any size, which takes no room on the disk."""
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + hole)
        stream.seek(0, 2)
        stream.write(tail)
    return path


def forged(contents, components, sizes=MappingProxyType({}), digests=MappingProxyType({})) -> tuple[bytes, bytes]:
    """Build an archive of entries of which the last may be longer than what is given: all before and all after it."""
    head, entries = b"", {}
    records: list[layout.Record] = []
    for name, content in contents.items():
        size = sizes.get(name, len(content))
        records.append(layout.Record(name, size, zlib.crc32(content), len(head)))
        head += layout.local_header(records[-1]) + content
        entries[name] = Entry(size, records[-1].crc, digest_of(content), digests.get(name))
    text = manifest_bytes(Manifest("checkpoint", components, entries, manifest_keys(CheckpointRecord("run", step=7))))
    records.append(layout.Record("manifest.json", len(text), zlib.crc32(text), records[-1].end))
    directory = layout.central_directory(records)
    end = layout.tail(len(records), len(directory), records[-1].end, digest_of(text))
    return head, layout.local_header(records[-1]) + text + directory + end


def huge_checkpoint(path: Path) -> Path:
    """Forge a checkpoint of 10 GiB in a hole: all that opening checks is in order, only the digest is not."""
    header = tensorfile.build_header(tensorfile.place([("net.weight", "F32", (NUMBERS,))]))
    contents = {
        "mimetype": layout.MIMETYPE_CONTENT,
        "model.json": b'{"net.weight":{"$tensor":"net.weight"}}',
        "model.safetensors": header,
    }
    sizes = {"model.safetensors": len(header) + 4 * NUMBERS}
    digests = {"model.safetensors": {"net.weight": "0" * 64}}
    return sparse(path, *forged(contents, ("model",), sizes, digests), hole=4 * NUMBERS)


def test_a_file_of_10_gb_is_shown_from_kilobytes(milepost, checkpoint, tmp_path) -> None:
    milepost("show", checkpoint)  # what is imported is read now
    path = huge_checkpoint(tmp_path / "huge.ckpt")
    assert path.stat().st_size > 10 * 2**30
    ended = []
    assert bytes_read(lambda: ended.append(milepost("show", path))) < 2**18
    assert ended[0].status == 0
    assert "  kind          checkpoint (format 1), 10.7 GB" in ended[0].out.splitlines()
    assert f"  net           1  {NUMBERS:,}  F32" in ended[0].out.splitlines()


def test_a_foreign_file_of_10_gb_is_shown_from_kilobytes(milepost, tmp_path) -> None:
    small = tmp_path / "small.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, small)
    milepost("show", small)
    header = tensorfile.build_header(tensorfile.place([("net.weight", "F32", (NUMBERS,))]))
    path = sparse(tmp_path / "huge.safetensors", header, hole=4 * NUMBERS)
    ended = []
    assert bytes_read(lambda: ended.append(milepost("show", path))) < 2**18
    assert f"  net           1  {NUMBERS:,}  F32" in ended[0].out.splitlines()


class Bomb:
    """An object that runs a program when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


def test_a_foreign_file_says_what_it_would_do_and_does_not(milepost, tmp_path) -> None:
    path, fuse = tmp_path / "theirs.ckpt", tmp_path / "fuse"
    content = {
        "pytorch-lightning_version": "2.6.0",
        "epoch": 3,
        "global_step": 40,
        "state_dict": {"net.w": torch.ones(2, 3), "net.b": torch.ones(3)},
        "callbacks": Bomb(fuse),
    }
    torch.save(content, path)
    ended = milepost("show", path)
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[0] == "theirs.ckpt"
    assert any(line.startswith("  kind  lightning checkpoint, ") for line in lines)
    expected = [
        "  epoch                      3",
        "  global_step                40",
        "tensors by module",
        "  state_dict.net        2        9  F32",
        "if it were unpickled",
    ]
    assert [line for line in expected if line not in lines] == []
    after = lines[lines.index("if it were unpickled") + 1 :]
    assert after[0].startswith("  imported, for tensors and plain values  ")
    assert any("torch._utils._rebuild_tensor_v2" in line for line in after)
    assert after[-1] == "  imported, and could run anything        posix.system"
    assert not fuse.exists()
    found = json.loads(milepost("show", "--json", path).out)
    assert found["kind"] == "lightning checkpoint"
    assert found["bytes"] == path.stat().st_size
    assert found["tensors"] == 2
    assert found["metadata"]["epoch"] == 3
    assert found["unpickling"]["suspicious"] == ["posix.system"]
    assert set(found["unpickling"]["imports"]) > {"posix.system"}
    assert milepost("show", "--verify", path).out.splitlines()[-1] == (
        "not verified: this kind of file holds no digests"
    )


def test_a_foreign_file_without_a_pickle(milepost, tmp_path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors", {"author": "A"})
    lines = milepost("show", tmp_path / "a.safetensors").out.splitlines()
    assert "  author  A" in lines
    assert lines[-1] == "there is no pickle in it that would import anything"


def test_a_compiled_program_of_another_says_that_it_holds_machine_code(milepost, tmp_path) -> None:
    path = tmp_path / "m.pt2"
    folder = "m/data/aotinductor/model"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/archive_format", "pt2")
        file.writestr(f"{folder}/c.so", "")
        file.writestr(f"{folder}/c_metadata.json", '{"AOTI_DEVICE_KEY": "cuda"}')
    assert milepost("show", path).out.splitlines() == [
        "m.pt2",
        f"  kind  aotinductor package, {path.stat().st_size} B",
        "",
        "metadata",
        "  models        model",
        "  machine_code  c.so",
        "  compiled_for",
        "    AOTI_DEVICE_KEY  cuda",
        "",
        "there is no pickle in it that would import anything",
        "if it were loaded, its machine code would run, and could do anything",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(milepost, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    ended = milepost("show", tmp_path / "pipe.ckpt")
    assert ended.status == 1
    assert "expected a regular file, found something else" in ended.err


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
    assert f"found another directory. Give one of its files, as '{folder / 'step-00000012.ckpt'}'" in ended.err
    (tmp_path / "empty").mkdir()
    assert "Give a file in it; `milepost runs` lists runs." in milepost("show", tmp_path / "empty").err


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


def test_a_run_that_was_made_by_two_versions_says_so(milepost, tmp_path) -> None:
    here, there = {"torch": "2.12.0", "threads": 2}, {"torch": "2.13.0", "threads": 2}
    record = CheckpointRecord(lineage=(Segment(0, here), Segment(120, there)))
    save_checkpoint(tmp_path / "a.ckpt", {"model": {"w": torch.ones(2)}}, record=record)
    lines = milepost("show", tmp_path / "a.ckpt").out.splitlines()
    at = lines.index("made in more than one environment")
    assert lines[at + 1 : at + 3] == ["  from step 0: as it began", "  from step 120: torch 2.12.0 → 2.13.0"]
    told = json.loads(milepost("show", "--json", tmp_path / "a.ckpt").out)["lineage"]
    assert [entry["environment"] for entry in told] == [here, there]
    assert [entry["changes"] for entry in told] == [[], ["torch 2.12.0 → 2.13.0"]]


def test_a_run_that_was_made_in_one_environment_needs_no_word_of_it(milepost, tmp_path) -> None:
    record = CheckpointRecord(lineage=(Segment(0, {"torch": "2.12.0"}),))
    save_checkpoint(tmp_path / "a.ckpt", {"model": {"w": torch.ones(2)}}, record=record)
    assert "made in more than one" not in milepost("show", tmp_path / "a.ckpt").out
