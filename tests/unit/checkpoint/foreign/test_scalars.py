"""Numbers and texts of pickles are read as Python reads them."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.checkpoint.foreign.machine import read_pickle
from milepost.checkpoint.foreign.window import Window
from milepost.errors import ForeignFileError

Make = Callable[[bytes], Window]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**900), 2**900), st.floats(allow_nan=False), st.text(), st.binary()
)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_values_of_all_kinds(protocol: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    from milepost.checkpoint.foreign.window import Files

    path = tmp_path_factory.mktemp("scalars") / "file"

    @given(VALUES)
    def check(value: Any) -> None:
        path.write_bytes(pickle.dumps(value, protocol))
        with Files().reading() as files:
            found = read_pickle(files.whole(path)).root
        assert type(found) is type(value)
        assert found == value

    check()


@pytest.mark.parametrize(
    "data",
    [b"I-5\n.", b"I00\n.", b"I01\n.", b"L123L\n.", b"F2.5\n.", b"S'abc'\n.", b'S"abc"\n.', b"V\\u00fcx\n.",
     b"T\x02\x00\x00\x00ab.", b"U\x02ab.", b"\x8b\x02\x00\x00\x00\x00\x80.", b"\x8a\x00."],
)  # fmt: skip
def test_old_opcodes(data: bytes, window: Make) -> None:
    assert read_pickle(window(data)).root == pickle.loads(data)


def test_bytes_of_python_2_stay_bytes_where_they_are_no_text(window: Make) -> None:
    assert read_pickle(window(b"U\x02\xff\xfe.")).root == b"\xff\xfe"


def test_a_name_of_a_file_that_is_no_unicode_is_escaped(window: Make) -> None:
    assert read_pickle(window(pickle.dumps("a\udc80", 4))).root == "a\\udc80"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Ix\n.", "INT: expected a decimal number, found b'x'"),
        (b"I--1\n.", "INT: expected a decimal number"),
        (b"I\n.", "INT: expected a decimal number"),
        (b"I1_000\n.", "INT: expected a decimal number"),
        (b"L" + b"9" * 400 + b"\n.", "LONG: expected a decimal number"),
        (b"Fx\n.", "FLOAT: expected a number, found b'x'"),
        (b"Sabc\n.", "STRING: expected a quoted string, found b'abc'"),
        (b"S'\n.", "STRING: expected a quoted string"),
        (b"V\\uXXXX\n.", "UNICODE: expected escaped text"),
        (b"X\x01\x00\x00\x00\xff.", r"a text of the pickle is not UTF-8: b'\\xff'"),
        (b"\x8a\x81" + bytes(129) + b".", "expected an integer of at most 128 bytes, found one of 129"),
        (b"J\x01", "the pickle does not end by byte 2: the file is truncated"),
    ],
)
def test_what_is_no_number_or_text_is_refused(data: bytes, reason: str, window: Make) -> None:
    with pytest.raises(ForeignFileError, match=reason):
        read_pickle(window(data))
