"""The interpreter carries out or refuses every opcode, and imports nothing."""

import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest

from attacks.assembly import program, text
from milepost.checkpoint.foreign.machine import REFUSED, STRUCTURE, Pickle, read_pickle
from milepost.checkpoint.foreign.nodes import Global, Instance, Items, Pairs, Reference
from milepost.checkpoint.foreign.scalars import SCALARS
from milepost.checkpoint.foreign.window import Files
from milepost.errors import ForeignFileError


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Interpret bytes."""

    def run(data: bytes, **limits: int) -> Pickle:
        (tmp_path / "pickle").write_bytes(data)
        files = Files()
        with files.reading():
            return read_pickle(files.whole(tmp_path / "pickle"), **limits)

    return run


def test_every_opcode_of_python_is_known_by_its_name() -> None:
    ours = {code: name for table in (SCALARS, STRUCTURE, REFUSED) for code, (name, _) in table.items()}
    ours[ord(".")] = "STOP"
    assert len(SCALARS) + len(STRUCTURE) + len(REFUSED) + 1 == len(ours)
    assert ours == {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


def test_a_name_is_only_a_name(read: Any) -> None:
    found = read(pickle.dumps(os.system, 4))
    assert found.root == Global("posix", "system")
    assert found.root.full == "posix.system"
    assert found.globals == ("posix.system",)


@pytest.mark.parametrize("protocol", range(6))
def test_calls_become_records(read: Any, protocol: int) -> None:
    found = read(pickle.dumps(slice(1, 2), protocol))
    assert isinstance(found.root, Instance)
    assert found.globals == ("builtins.slice",)
    assert found.root.arguments == (1, 2, None)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (b"N\x88\x89\x87", (None, True, False)),
        (b"(NNt", (None, None)),
        (b"(K\x01K\x02l", [1, 2]),
        (b"](K\x01K\x02e", [1, 2]),
        (b"]K\x01a", [1]),
        (b"K\x012\x86", (1, 1)),
        (b"K\x01K\x020", 1),
        (b"K\x07((K\x0110", 7),
        (b"K\x01q\x050h\x05", 1),
        (b"K\x01p12\n0g12\n", 1),
        (b"K\x01r\x05\x00\x00\x000j\x05\x00\x00\x00", 1),
        (b"K\x01\x940h\x00", 1),
        (b"\x95" + bytes(8) + b"K\x01", 1),
    ],
)
def test_opcodes_do_what_python_does(read: Any, parts: bytes, expected: Any) -> None:
    data = program(parts)
    assert pickle.loads(data) == expected
    assert read(data).root == expected


def test_dicts_and_sets_are_kept_as_pairs_and_items(read: Any) -> None:
    for data in (b"}" + text("a") + b"Ns", b"}(" + text("a") + b"Nu", b"(" + text("a") + b"Nd"):
        found = read(program(data)).root
        assert isinstance(found, Pairs)
        assert found.pairs == [("a", None)]
    for data, frozen in ((b"\x8f(K\x01\x90", False), (b"(K\x01\x91", True)):
        found = read(program(data)).root
        assert isinstance(found, Items)
        assert (found.items, found.frozen) == ([1], frozen)


def test_an_object_keeps_what_is_done_to_it(read: Any) -> None:
    made = b"ccollections\ndeque\n)\x81"
    found = read(program(made, b"K\x01a", b"(K\x02K\x03e", b"(K\x04\x90", b"K\x05Ns", b"Nb", b"\x88b")).root
    assert found.callable == Global("collections", "deque")
    assert found.appended == [1, 2, 3, 4]
    assert found.pairs == [(5, None)]
    assert found.states == [None, True]


def test_persistent_ids_are_references(read: Any) -> None:
    found = read(program(b"K\x01Q", b"Pkey\n", b"\x86"))
    assert all(isinstance(item, Reference) for item in found.root)
    assert found.references == (1, "key")


def test_the_end_of_one_pickle_is_the_start_of_the_next(read: Any) -> None:
    first = program(b"K\x01")
    assert read(first + program(b"K\x02")).end == len(first)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (b"K\x01K\x02a", "expected a list to append to, found int"),
        (b"NK\x01Ns", "expected a dict to put items into, found NoneType"),
        (b"](K\x01\x90", "expected a set to add to, found list"),
        (b"(K\x01\x91(K\x01\x90", "expected a set to add to, found Items"),
        (b"}(K\x01u", "expected keys and values in turn, found a key without a value"),
        (b"]Nb", "expected an object to give a state to, found list"),
        (b"t", "TUPLE at byte 2 of the pickle takes more than the stack has"),
        (b"N\x86", "TUPLE2 at byte 3 of the pickle takes more than the stack has"),
        (b"N(0N(2", "DUP at byte 7 of the pickle takes more than the stack has"),
        (b"p1\n", "PUT at byte 2 of the pickle takes more than the stack has"),
        (b"g7\n", "nothing was memorized under 7"),
        (b"gx\n", "GET: expected a decimal number, found b'x'"),
        (b"c\xff\nx\n", "a text of the pickle is not UTF-8"),
        (b"(", r"expected one value on the stack, found 0 and 1 open marks"),
    ],
)
def test_what_makes_no_sense_is_refused(read: Any, parts: bytes, reason: str) -> None:
    with pytest.raises(ForeignFileError, match=reason):
        read(program(parts))


def test_steps_are_bounded(read: Any) -> None:
    assert read(program(b"]" * 9 + b"0" * 8), max_steps=19).steps == 19
    with pytest.raises(ForeignFileError, match="expected at most 18 opcodes, found more"):
        read(program(b"]" * 9 + b"0" * 8), max_steps=18)


def test_a_pickle_of_another_protocol_than_it_states_is_read(read: Any) -> None:
    assert read(b"\x80\x02\x8c\x01a.").root == "a"
