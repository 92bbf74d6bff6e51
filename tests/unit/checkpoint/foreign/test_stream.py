"""A stream gives the bytes of a window in order, across its buffer's ends."""

from collections.abc import Callable

import pytest

from milepost.checkpoint.foreign import stream as module
from milepost.checkpoint.foreign.stream import Stream
from milepost.checkpoint.foreign.window import Window
from milepost.errors import ForeignFileError

Make = Callable[[bytes], Window]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 8)
    monkeypatch.setattr(module, "_MAX_LINE", 32)


def test_bytes_come_in_order(window: Make) -> None:
    data = bytes(range(100))
    stream = Stream(window(data), 3, 1000)
    taken = b""
    for count in (1, 0, 7, 8, 9, 30, 1):
        assert stream.position == 3 + len(taken)
        taken += stream.take(count)
    assert taken == data[3 : 3 + len(taken)]
    assert stream.opcode() == data[3 + len(taken)]
    assert stream.began == 3 + len(taken)


def test_lines_end_at_a_line_feed(window: Make) -> None:
    lines = [b"a" * 5, b"", b"b" * 20, b"c"]
    stream = Stream(window(b"\n".join(lines) + b"\nrest"), 0, 1000)
    assert [stream.line() for _ in lines] == lines
    assert stream.take(4) == b"rest"


@pytest.mark.parametrize("data", [b"a" * 100 + b"\n", b"abc"])
def test_a_line_has_an_end(data: bytes, window: Make) -> None:
    with pytest.raises(ForeignFileError, match="a line of the pickle at byte 0 does not end"):
        Stream(window(data), 0, 1000).line()


def test_the_end_of_the_file_is_the_end(window: Make) -> None:
    stream = Stream(window(bytes(10)), 0, 1000)
    stream.take(9)
    with pytest.raises(ForeignFileError, match="the pickle does not end by byte 10: the file is truncated"):
        stream.take(2)


def test_the_limit_is_the_end(window: Make) -> None:
    stream = Stream(window(bytes(10)), 2, 5)
    with pytest.raises(ForeignFileError, match="does not end by byte 7: it is longer than this reader allows"):
        stream.take(6)
