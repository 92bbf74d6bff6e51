"""Whatever the bytes are: an error of ours, or a description; never another error, never more memory than is due."""

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from attacks.assembly import PROTOCOL, name, number, program, storage, tensor, text, torch_zip
from milepost.checkpoint.foreign import open_foreign
from milepost.checkpoint.foreign.allowed import HARMLESS
from milepost.checkpoint.foreign.machine import REFUSED, STRUCTURE
from milepost.checkpoint.foreign.scalars import SCALARS
from milepost.errors import ForeignFileError
from unit.checkpoint.foreign.objects import simple

EXAMPLES = settings(max_examples=150)
PEAK = 96 * 2**20


def survives(path: Path) -> bool:
    """Read a file in every way; tell whether it could be read."""
    tracemalloc.start()
    try:
        found = open_foreign(path)
        if found is None:
            return False
        found.tensor_table()
        found.tensors()
        found.tree()
        return True
    except ForeignFileError:
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < PEAK


@cache
def originals() -> dict[str, bytes]:
    """Give honest files of each kind."""
    objects = simple(old=True)
    kept = {key: objects[key] for key in ("state dict", "views", "plain", "complex", "ordered")}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(kept, new)
    torch.save(kept, old, _use_new_zipfile_serialization=False)
    weights = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int8)})
    return {
        "zip": new.getvalue(),
        "legacy": old.getvalue(),
        "safetensors": weights,
        "pickle": pickle.dumps([1, {2}], 4),
    }


def inner() -> bytes:
    """Give the pickle within the honest zip file."""
    with zipfile.ZipFile(io.BytesIO(originals()["zip"])) as file:
        return file.read(next(entry for entry in file.namelist() if entry.endswith("data.pkl")))


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw a few changes: bytes replaced, cut out, put in or repeated, and the end cut off."""
    edits = draw(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("rcid"), st.binary(min_size=1, max_size=9)),
                          min_size=1, max_size=6))  # fmt: skip
    end = draw(st.one_of(st.just(1.0), st.floats(0, 1)))

    def apply(data: bytes) -> bytes:
        for share, how, piece in edits:
            at = int(share * len(data))
            middle = {"r": piece, "c": b"", "i": piece + data[at : at + len(piece)], "d": data[at : at + 9] * 2}[how]
            data = data[:at] + middle + data[at + len(piece) :]
        return data[: int(end * len(data))]

    return apply


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "pickle"])
def test_honest_files_survive(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(originals()[kind])
    assert survives(tmp_path / "f")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "pickle"])
def test_fuzz_changed_files(kind: str, tmp_path: Path) -> None:
    @EXAMPLES
    @given(changes())
    def check(change: Callable[[bytes], bytes]) -> None:
        (tmp_path / "f").write_bytes(change(originals()[kind]))
        survives(tmp_path / "f")

    check()


def test_fuzz_changed_pickles_in_sound_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(originals()["zip"])) as file:
        storages = {entry.rpartition("/")[2]: file.read(entry) for entry in file.namelist() if "/data/" in entry}

    @EXAMPLES
    @given(changes())
    def check(change: Callable[[bytes], bytes]) -> None:
        torch_zip(tmp_path / "f", change(inner()), storages)
        survives(tmp_path / "f")

    check()


OPCODES = [bytes([code]) for table in (SCALARS, STRUCTURE, REFUSED) for code in table]
PIECES = st.one_of(
    st.sampled_from(OPCODES),
    st.tuples(st.sampled_from(OPCODES), st.binary(max_size=9)).map(b"".join),
    st.sampled_from([b"(", b"t", b")", b"R", b"\x81", b"b", b"]", b"a", b"e", b"}", b"s", b"u", b"Q", b"0", b"2"]),
    st.sampled_from([b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x85", b"\x86", b"\x87", b"\x94"]),
    st.sampled_from(sorted(HARMLESS)).map(lambda full: name(*full.rsplit(".", 1))),
    st.integers(-(2**70), 2**70).map(number),
    st.text(max_size=5).map(text),
    st.sampled_from([tensor(), storage(), tensor(shape=(2, 2), stride=(2, 1)), storage("1"), text("storage")]),
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=40))
@example([b"]", b"q\x00", b"h\x00", b"a"])
def test_fuzz_programs(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    torch_zip(path, program(*pieces))
    survives(path)
    path.write_bytes(PROTOCOL + b"".join(pieces) + b".")
    survives(path)


@EXAMPLES
@given(st.binary(max_size=60))
def test_fuzz_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    for head in (b"", PROTOCOL, b"PK\x03\x04", b"PK\x05\x06", (40).to_bytes(8, "little") + b"{"):
        path.write_bytes(head + data)
        survives(path)


def test_some_programs_can_be_read(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(b"(", tensor(), text("a"), b"}", b"t"))
    assert survives(tmp_path / "f")
