"""Attacks by the pickle itself, refused with exactly these reasons."""

import struct

from attacks.assembly import PROTOCOL, call, name, number, program, text
from attacks.attack import SYSTEM, Attack, bare, pickled


def laughs() -> bytes:
    """Build a list of two lists of two lists …: 2^40 values from 40 memorized ones."""
    steps = [b"]q\x00"]
    for level in range(40):
        steps.append(b"0](h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1]))
    return b"".join(steps)


PICKLES = [
    Attack("ext1", "an extension number stands for any function", pickled(b"\x82\x01"),
           "EXT1 is refused: its number has a meaning only in the process that wrote it (byte 2 of the pickle)"),
    Attack("ext2", "the same with two bytes", pickled(b"\x83\x01\x01"),
           "EXT2 is refused: its number has a meaning only in the process that wrote it (byte 2 of the pickle)"),
    Attack("ext4", "the same with four bytes", pickled(b"\x84\x01\x01\x01\x01"),
           "EXT4 is refused: its number has a meaning only in the process that wrote it (byte 2 of the pickle)"),
    Attack("out-of-band", "the data lie in a buffer outside the file", pickled(b"\x97"),
           "NEXT_BUFFER is refused: the buffer that it takes is in no file (byte 2 of the pickle)"),
    Attack("unknown-opcode", "a byte that no protocol knows", pickled(b"\xff"),
           "opcode 0xff is refused: no protocol has it (byte 2 of the pickle)"),
    Attack("protocol", "a protocol of the future", bare(b"\x80\x05\x80\x06N."),
           "expected a protocol of at most 5, found 6 (byte 2 of the pickle)"),
    Attack("underflow", "an opcode takes more than is there", pickled(b"R"),
           "REDUCE at byte 2 of the pickle takes more than the stack has"),
    Attack("missing-memo", "a value that was never memorized", pickled(b"h\x05"),
           "nothing was memorized under 5 (byte 2 of the pickle)"),
    Attack("memo-collisions", "memo indices of one hash value, for which a dict takes quadratic time",
           pickled(b"Np%d\n" % (2**61 - 1)),
           "expected a memo index below 4294967296, found 2305843009213693951 (byte 3 of the pickle)"),
    Attack("negative-memo", "a memo index below 0", pickled(b"Np-1\n"),
           "expected a memo index below 4294967296, found -1 (byte 3 of the pickle)"),
    Attack("left-over", "two values where one is expected", pickled(b"NN"),
           "STOP: expected one value on the stack, found 2 and 0 open marks (byte 4 of the pickle)"),
    Attack("after-the-end", "a second pickle hides after the first",
           pickled(b"N." + program(call(SYSTEM, text("true")))),
           "archive/data.pkl has 30 bytes after its end"),
    Attack("control-characters", "a name that clears the terminal when it is shown", pickled(name("os\x1b[2J", "x")),
           "expected the name of a global, found 'os\\x1b[2J x' (byte 2 of the pickle)"),
    Attack("number-as-name", "a global whose name is a number", pickled(number(1) + number(2) + b"\x93"),
           "expected texts as names of a global, found other values (byte 8 of the pickle)"),
    Attack("deep-tuples", "100,000 tuples in each other exhaust a recursive reader", pickled(b"N" + b"\x85" * 100_000),
           "at '" + ".".join(["0"] * 64) + "': expected at most 64 levels of nesting, found more"),
    Attack("deep-marks", "100,000 marks that nothing closes", pickled(b"(" * 100_000),
           "STOP: expected one value on the stack, found 0 and 100000 open marks (byte 100002 of the pickle)"),
    Attack("deep-keys", "a key of 100,000 tuples in each other", pickled(b"}N" + b"\x85" * 100_000 + b"Ns"),
           "at 'the whole': expected at most 64 levels of nesting, found more"),
    Attack("laughs", "2^40 values from 40 lists of two", pickled(laughs()),
           "written out, the shared values of the file are many times its size"),
    Attack("long-text", "a text of 2^62 bytes", pickled(b"\x8d" + struct.pack("<Q", 2**62)),
           "the pickle does not end by byte 12: the file is truncated (byte 2 of the pickle)"),
    Attack("long-bytes", "bytes of 2^63 + 1 bytes", pickled(b"\x8e" + struct.pack("<Q", 2**63 + 1)),
           "the pickle does not end by byte 12: the file is truncated (byte 2 of the pickle)"),
    Attack("long-integer", "an integer of 2 GiB, whose decimal digits take days",
           pickled(b"\x8b\xff\xff\xff\x7f" + bytes(100)),
           "expected an integer of at most 128 bytes, found one of 2147483647 (byte 2 of the pickle)"),
    Attack("long-decimal", "an integer of 50,000 decimal digits", pickled(b"I" + b"9" * 50_000 + b"\n"),
           f"INT: expected a decimal number, found {b'9' * 40!r} (byte 2 of the pickle)"),
    Attack("endless-line", "a name without an end", pickled(b"c" + b"a" * 100_000),
           "a line of the pickle at byte 3 does not end (byte 2 of the pickle)"),
    Attack("outside", "a persistent id in a lone pickle", bare(PROTOCOL + b"Pthere\n."),
           "it refers to something outside by a persistent id, and nothing here has one"),
]  # fmt: skip
