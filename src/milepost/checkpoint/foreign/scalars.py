"""The opcodes of a pickle that push a number or a text, and how each is written.

Promise: `SCALARS` maps each such opcode to a function from the stream to its value; texts of numbers are bounded, so
that reading one takes no more than its length.
Failure: ForeignFileError with the opcode's name.

Source of the opcodes: the documentation in Python's own `pickletools`
(https://docs.python.org/3/library/pickletools.html); the names are those of its table.
"""

import struct
from collections.abc import Callable

from milepost.checkpoint.foreign.stream import Stream
from milepost.errors import ForeignFileError

Scalar = None | bool | int | float | str | bytes

# As many bits as an archive's integers may have.
_MAX_INTEGER_BYTES = 128
_MAX_DIGITS = 310


def text(data: bytes) -> str:
    """Decode UTF-8; what Python writes for a file name that is not Unicode comes out escaped."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("utf-8", "surrogatepass").encode("utf-8", "backslashreplace").decode("utf-8")
    except UnicodeDecodeError:
        raise ForeignFileError(f"a text of the pickle is not UTF-8: {data[:40]!r}") from None


def decimal(data: bytes, opcode: str) -> int:
    """Read a decimal number as opcodes of protocol 0 write it."""
    digits = data.removesuffix(b"L")
    if len(digits) > _MAX_DIGITS or not digits.removeprefix(b"-").isdigit():
        raise ForeignFileError(f"{opcode}: expected a decimal number, found {data[:40]!r}")
    return int(digits)


def sized(stream: Stream, width: int) -> bytes:
    """Read a little-endian length of `width` bytes, then as many bytes."""
    return stream.take(int.from_bytes(stream.take(width), "little"))


def _integer(stream: Stream) -> bool | int:
    line = stream.line()
    # Protocol 0 has no opcode for booleans: these two numbers are they.
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else decimal(line, "INT")


def _float(stream: Stream) -> float:
    line = stream.line()
    try:
        return float(line[:_MAX_DIGITS])
    except ValueError:
        raise ForeignFileError(f"FLOAT: expected a number, found {line[:40]!r}") from None


def _long(stream: Stream, width: int) -> int:
    length = int.from_bytes(stream.take(width), "little")
    if length > _MAX_INTEGER_BYTES:
        raise ForeignFileError(f"expected an integer of at most {_MAX_INTEGER_BYTES} bytes, found one of {length}")
    return int.from_bytes(stream.take(length), "little", signed=True)


def _old_string(data: bytes) -> str | bytes:
    """Decode what Python 2 wrote for a text as well as for bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _quoted(stream: Stream) -> str | bytes:
    """Read a quoted string of protocol 0; escape sequences are left as written."""
    line = stream.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ForeignFileError(f"STRING: expected a quoted string, found {line[:40]!r}")
    return _old_string(line[1:-1])


def _raw_unicode(stream: Stream) -> str:
    line = stream.line()
    try:
        return text(line.decode("raw-unicode-escape").encode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        raise ForeignFileError(f"UNICODE: expected escaped text, found {line[:40]!r}") from None


def _packed(layout: str) -> Callable[[Stream], int | float]:
    form = struct.Struct(layout)

    def read(stream: Stream) -> int | float:
        return form.unpack(stream.take(form.size))[0]

    return read


SCALARS: dict[int, tuple[str, Callable[[Stream], Scalar]]] = {
    ord("N"): ("NONE", lambda stream: None),
    0x88: ("NEWTRUE", lambda stream: True),
    0x89: ("NEWFALSE", lambda stream: False),
    ord("I"): ("INT", _integer),
    ord("L"): ("LONG", lambda stream: decimal(stream.line(), "LONG")),
    ord("J"): ("BININT", _packed("<i")),
    ord("K"): ("BININT1", lambda stream: stream.take(1)[0]),
    ord("M"): ("BININT2", _packed("<H")),
    0x8A: ("LONG1", lambda stream: _long(stream, 1)),
    0x8B: ("LONG4", lambda stream: _long(stream, 4)),
    ord("F"): ("FLOAT", _float),
    ord("G"): ("BINFLOAT", _packed(">d")),
    ord("S"): ("STRING", _quoted),
    ord("T"): ("BINSTRING", lambda stream: _old_string(sized(stream, 4))),
    ord("U"): ("SHORT_BINSTRING", lambda stream: _old_string(sized(stream, 1))),
    ord("V"): ("UNICODE", _raw_unicode),
    ord("X"): ("BINUNICODE", lambda stream: text(sized(stream, 4))),
    0x8C: ("SHORT_BINUNICODE", lambda stream: text(sized(stream, 1))),
    0x8D: ("BINUNICODE8", lambda stream: text(sized(stream, 8))),
    ord("B"): ("BINBYTES", lambda stream: sized(stream, 4)),
    ord("C"): ("SHORT_BINBYTES", lambda stream: sized(stream, 1)),
    0x8E: ("BINBYTES8", lambda stream: sized(stream, 8)),
    0x96: ("BYTEARRAY8", lambda stream: sized(stream, 8)),
}
