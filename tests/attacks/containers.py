"""Attacks by the other containers, refused with exactly these reasons."""

import struct
from pathlib import Path

from attacks.assembly import (
    call,
    group,
    instance,
    legacy,
    mapping,
    name,
    number,
    program,
    storage,
    tensor,
    text,
    torch_zip,
)
from attacks.attack import Attack, Make, bare

_MODULE = "torch.distributed.checkpoint"
_OLD = program(tensor(storage()[:-2] + b"Nt" + b"Q"))


def old_file(count: int, keys: list[str], *, rest: bytes = b"") -> Make:
    """Make a file of before PyTorch 1.6 whose storage states `count` elements."""
    return bare(legacy(_OLD, keys, struct.pack("<Q", count) + bytes(16) + rest))


def header(text_of_header: str, data: bytes = b"", length: int | None = None) -> Make:
    """Make a safetensors file with this header."""
    encoded = text_of_header.encode()
    return bare(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data)


def stored(file: str, offset: int, size: int, **extra: bytes) -> bytes:
    """Push where an item of a distributed checkpoint lies."""
    fields = {"relative_path": text(file), "offset": number(offset), "length": number(size), **extra}
    return instance(name(f"{_MODULE}.filesystem", "_StorageInfo"), mapping(fields))


def folder(*items: bytes, key: bytes | None = None) -> Make:
    """Make a distributed checkpoint of objects `0`, `1`, …, stored where `items` say, under `key` if that is given."""

    def make(path: Path, marker: Path) -> None:
        path.mkdir()
        torch_zip(path / "__0_0.distcp", program(b"N"))
        index = name(f"{_MODULE}.metadata", "MetadataIndex")
        names = [key or text(str(n)) for n in range(len(items))]
        pairs = [instance(index, mapping({"fqn": one})) + item for one, item in zip(names, items, strict=True)]
        entries = {str(n): name(f"{_MODULE}.metadata", "BytesStorageMetadata") + b")\x81" for n in range(len(items))}
        fields = {"state_dict_metadata": mapping(entries), "storage_data": b"}(" + b"".join(pairs) + b"u"}
        data = program(instance(name(f"{_MODULE}.metadata", "Metadata"), mapping(fields)))
        (path / ".metadata").write_bytes(data)

    return make


def tar(path: Path, marker: Path) -> None:
    """Make the first block of a tar file of PyTorch's first format."""
    block = bytearray(1024)
    block[:8] = b"storages"
    block[257:262] = b"ustar"
    path.write_bytes(block)


CONTAINERS = [
    Attack("legacy-count", "a storage of the old format states 2^60 elements", old_file(2**60, ["0"]),
           "storage 0: expected 4 elements, found 1152921504606846976"),
    Attack("legacy-missing", "the old format lists no storages", bare(legacy(_OLD, [], b"")),
           "at 'the whole': storage 0 is missing"),
    Attack("legacy-twice", "the old format lists a storage twice", old_file(4, ["0", "0"]),
           "the list of the storages' keys has one of them twice"),
    Attack("legacy-more", "bytes hide behind the old format's storages", old_file(4, ["0"], rest=b"hidden"),
           "expected the end of the file at byte END, found it at END"),
    Attack("legacy-code", "the old format's system information is a call",
           bare(program(number(0x1950A86A20F9469CFC6C)) + program(number(1001))
                + program(call(name("posix", "system"), text("true")))),
           "expected true or false as 'little_endian', found something else"),
    Attack("tar", "the format of before PyTorch 0.1.10, whose reader unpacks paths", tar,
           "it has the tar format of PyTorch before 0.1.10; save it again with a later PyTorch"),
    Attack("header-length", "a safetensors header states more bytes than there are", header("{}", length=8),
           "its header is not one of a safetensors file: the header declares 8 bytes where at most 2 can be"),
    Attack("header-overlap", "two tensors of a safetensors file share bytes",
           header('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
                  '"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}', bytes(6)),
           "its header is not one of a safetensors file: tensor 'b' overlaps the tensor before it: "
           "expected begin 4, found 2"),
    Attack("header-deep", "a header of 50,000 lists in each other", header('{"a":' + "[" * 50_000),
           "its header is not one of a safetensors file: expected at most 128 levels of nesting, found many more"),
    Attack("folder-escape", "an item of a distributed checkpoint lies outside the folder",
           folder(stored("../secret", 0, 10)), "'0' is said to be in '../secret', which leaves the folder"),
    Attack("folder-absolute", "an item has an absolute path", folder(stored("/etc/passwd", 0, 10)),
           "'0' is said to be in '/etc/passwd', which leaves the folder"),
    Attack("folder-deep", "the name of an item is 100,000 tuples, which no message can show",
           folder(stored("__0_0.distcp", 0, 10), key=b"N" + b"\x85" * 100_000),
           "expected name, file, offset and length of a stored item, found something else"),
    Attack("folder-overlap", "two items share their bytes",
           folder(stored("__0_0.distcp", 0, 20), stored("__0_0.distcp", 10, 20)),
           "two items overlap at byte 10 of '__0_0.distcp'"),
    Attack("folder-past", "an item reaches past its file", folder(stored("__0_0.distcp", 0, 2**40)),
           "expected 1099511627776 bytes at byte 0, found the end at byte END"),
    Attack("folder-transform", "an item is stored through a transformation that the file names",
           folder(stored("__0_0.distcp", 0, 10, transform_descriptors=b"](" + text("zstd") + b"e")),
           "'0' is stored compressed or encrypted, which is not supported"),
    Attack("folder-other", "what describes the folder is something else",
           lambda path, marker: [path.mkdir(), (path / ".metadata").write_bytes(program(group(b"N")))][0],
           "expected an object of the class Metadata, found tuple"),
]  # fmt: skip
