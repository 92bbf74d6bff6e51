"""Put together pickles and zip files piece by piece, also ones that no honest program writes."""

import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

PROTOCOL = b"\x80\x02"
STOP = b"."
ENDED = struct.Struct("<4s4H2IH")
RECORD = struct.Struct("<4s6H3I5H2I")


def text(value: str) -> bytes:
    """Push a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Push an integer of any size up to 255 bytes."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    """Push what a module calls by this name."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def group(*parts: bytes) -> bytes:
    """Push a tuple."""
    return b"(" + b"".join(parts) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    """Push the result of a call."""
    return function + group(*arguments) + b"R"


def mapping(pairs: Mapping[str, bytes]) -> bytes:
    """Push a dict."""
    return b"}(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def program(*parts: bytes) -> bytes:
    """Give a whole pickle of protocol 2."""
    return PROTOCOL + b"".join(parts) + STOP


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage") -> bytes:
    """Push a storage by its persistent id."""
    return group(text("storage"), name("torch", kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    store: bytes | None = None,
    *,
    offset: int = 0,
    shape: Iterable[int] = (4,),
    stride: Iterable[int] = (1,),
    hooks: bytes | None = None,
) -> bytes:
    """Push a tensor as `torch.save` writes it."""
    sizes, steps = group(*map(number, shape)), group(*map(number, stride))
    hooks = hooks or call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, store or storage(), number(offset), sizes, steps, b"\x89", hooks)


def torch_zip(path: Path, data: bytes, storages: Mapping[str, bytes] | None = None, compressed: bool = False) -> None:
    """Write a file as `torch.save` lays it out, around any pickle."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data, method)
        file.writestr("archive/byteorder", b"little")
        for key, content in ({"0": bytes(16)} if storages is None else storages).items():
            file.writestr(f"archive/data/{key}", content)


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Replace a name wherever it stands; both must have one length."""
    data = path.read_bytes()
    assert len(old) == len(new)
    assert old in data
    path.write_bytes(data.replace(old, new))


def record_places(data: bytes) -> list[int]:
    """Return where the records of the zip directory begin."""
    _, _, _, _, count, _, at, _ = ENDED.unpack(data[-ENDED.size :])
    places: list[int] = []
    for _ in range(count):
        places.append(at)
        lengths = RECORD.unpack_from(data, at)[10:13]
        at += RECORD.size + sum(lengths)
    return places


def with_field(path: Path, entry: int, field: int, value: int) -> None:
    """Change one field of one record of the zip directory, by its number in the record."""
    data = bytearray(path.read_bytes())
    place = record_places(bytes(data))[entry]
    fields = list(RECORD.unpack_from(data, place))
    fields[field] = value
    RECORD.pack_into(data, place, *fields)
    path.write_bytes(data)


def legacy(data: bytes, keys: list[str], storages: bytes) -> bytes:
    """Give a file as `torch.save` wrote it before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join(head) + data + pickle.dumps(keys, 2) + storages


def array(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """Push an array of numpy with this state."""
    made = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), group(number(0)), text("b"))
    kind = call(name("numpy", "dtype"), text(dtype), b"\x89", b"\x88")
    kind += group(number(3), text("<"), b"N", b"N", b"N", number(-1), number(-1), number(0)) + b"b"
    sizes = group(*map(number, shape))
    return made + group(number(1), sizes, kind, b"\x89", data) + b"b"


def instance(kind: bytes, state: bytes) -> bytes:
    """Push an object of a class with this state."""
    return kind + b")\x81" + state + b"b"
