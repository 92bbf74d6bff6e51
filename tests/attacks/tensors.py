"""Attacks by what tensors and storages state, refused with exactly these reasons."""

from pathlib import Path

from attacks.assembly import array, call, group, name, number, program, storage, tensor, text, torch_zip
from attacks.attack import SYSTEM, Attack, pickled


def neither(path: Path, marker: Path) -> None:
    """Store a boolean of 2."""
    torch_zip(path, program(tensor(storage(kind="BoolStorage"))), {"0": b"\x01\x02\x00\x01"})


TENSORS = [
    Attack("lying-storage", "a storage states more elements than it has", pickled(tensor(storage(count=400))),
           "at 'the whole': storage 0: expected 1600 bytes, found 16"),
    Attack("past-the-storage", "a tensor reaches past its storage", pickled(tensor(shape=(5,))),
           "at 'the whole': a tensor of shape (5,), strides (1,) and offset 0 needs 20 bytes of its storage, "
           "which has 16"),
    Attack("offset", "a tensor begins past its storage", pickled(tensor(offset=2**40, shape=(1,))),
           "at 'the whole': a tensor of shape (1,), strides (1,) and offset 1099511627776 needs 4398046511108 bytes "
           "of its storage, which has 16"),
    Attack("negative-offset", "a tensor begins before its storage", pickled(tensor(offset=-1)),
           "at 'the whole': expected no negative offset or stride, found -1 and (1,)"),
    Attack("negative-stride", "a tensor runs backwards out of its storage", pickled(tensor(stride=(-1,))),
           "at 'the whole': expected no negative offset or stride, found 0 and (-1,)"),
    Attack("negative-size", "a tensor of -4 elements", pickled(tensor(shape=(-4,))),
           "at 'the whole': the shape (-4,) is not one that a tensor can have"),
    Attack("overflow", "sizes whose product is 0 in 64 bits", pickled(tensor(shape=(2**32, 2**32), stride=(0, 0))),
           "at 'the whole': the shape (4294967296, 4294967296) is not one that a tensor can have"),
    Attack("expanded", "a stride of 0 makes 4 TiB of 16 bytes", pickled(tensor(shape=(2**40,), stride=(0,))),
           "its tensors would take 4398046511104 bytes, from a file of SIZE"),
    Attack("two-dtypes", "one storage is referred to with two types",
           pickled(b"]" + tensor() + b"a" + tensor(storage(count=2, kind="LongStorage"), shape=(2,)) + b"a"),
           "at '1': storage 0 is referred to with two dtypes or sizes"),
    Attack("key-escape", "the key of a storage is a path", pickled(tensor(storage("../../../etc/passwd"))),
           "at 'the whole': expected digits as the key of a storage, found something else"),
    Attack("deep-count", "the number of a storage's elements is 100,000 tuples, which no message can show",
           pickled(group(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"),
                         b"N" + b"\x85" * 100_000) + b"Q"),
           "storage 0: expected a number of elements, found another value"),
    Attack("missing-storage", "a storage is not there", pickled(tensor(storage("7"))),
           "at 'the whole': the storage 'archive/data/7' is missing"),
    Attack("storage-of-code", "the class of a storage is a function",
           pickled(tensor(group(text("storage"), SYSTEM, text("0"), text("cpu"), number(4)) + b"Q")),
           "at 'the whole': expected a class of storages, found posix.system"),
    Attack("persistent-object", "a persistent id that is no storage", pickled(group(text("module"), SYSTEM) + b"Q"),
           "expected the persistent id of a storage, found something else"),
    Attack("boolean", "a boolean that is neither true nor false", neither,
           "expected only 0 and 1 in a boolean tensor, found other bytes"),
    Attack("lying-array", "an array of numpy states a shape that its bytes do not fill",
           pickled(array("f8", (1000,), call(name("_codecs", "encode"), text("\x00" * 8), text("latin1")))),
           "at 'the whole': an array of shape (1000,): expected 8000 bytes, found other"),
]  # fmt: skip
