"""Programs that PyTorch packs into a `.pt2` file: what torch.export saves, and what AOTInductor compiled.

Promise: reads the zip directory and small JSON entries; of an exported program the tensors are listed and located, as
`weights` and `constants`; machine code is named, not read.
Failure: ForeignFileError with the rule that is broken; `read_program` returns None for other zip files.

Source: `torch/export/pt2_archive/_package.py`, and for the numbers of types `torch/_export/serde/schema.py`, version 8.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from milepost.archive import jsontext
from milepost.checkpoint.foreign.content import Content
from milepost.checkpoint.foreign.leaves import Storage, StridedTensor
from milepost.checkpoint.foreign.torchzip import is_big_endian, read_torch_zip
from milepost.checkpoint.foreign.window import Window
from milepost.checkpoint.foreign.zipped import Member, locate, read_directory, read_member
from milepost.errors import ForeignFileError

EXPORTED = "torch.export program"
COMPILED = "aotinductor package"

_FORMAT, _FORMAT_NAME, _VERSION = "archive_format", b"pt2", "archive_version"
_COMPILED, _EXTRA = "data/aotinductor/", "extra/"
_GROUPS = {
    "weights": ("data/weights/", "_weights_config.json"),
    "constants": ("data/constants/", "_constants_config.json"),
}
_CODE = (".so", ".dylib", ".dll", ".pyd", ".cubin", ".hsaco", ".o")
_ABOUT_CODE = "_metadata.json"
_SMALL = 64
_SHOWN = 4096
_MAX_JSON = 16 * 2**20
_STRIDED = 7
_TYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip


def read_program(window: Window) -> Content | None:
    """Describe the file, or return None where it is a zip file of another kind."""
    members = read_directory(window)
    found = [name for name in members or () if name.endswith(f"/{_FORMAT}") and name.count("/") == 1]
    if members is None or not found or read_member(window, members, found[0], _SMALL) != _FORMAT_NAME:
        return None
    folder = found[0].removesuffix(_FORMAT)
    outside = [name for name in members if not name.startswith(folder)]
    if outside:
        raise ForeignFileError(f"expected every zip entry in '{folder}', found {outside[0]!r}")
    return _Program(window, {name.removeprefix(folder): member for name, member in members.items()}, folder).content()


class _Program:
    """One file's entries, by their names without the folder that all are in."""

    def __init__(self, window: Window, members: Mapping[str, Member], folder: str) -> None:
        self._window, self._members, self._folder = window, members, folder
        self._swapped = is_big_endian(window, {folder + name: one for name, one in members.items()}, folder[:-1])
        self._storages: dict[str, Storage] = {}
        self._globals: dict[str, None] = {}

    def content(self) -> Content:
        """Return everything that is described."""
        tree = {group: dict(self._tensors(group)) for group in _GROUPS}
        code = [name for name in self._members if name.endswith(_CODE)]
        facts = {
            "archive_version": self._text(_VERSION) if _VERSION in self._members else None,
            "byte_order": "big" if self._swapped else None,
            "models": self._models(),
            "machine_code": [name.rpartition("/")[2] for name in code],
            "compiled_for": dict(self._about_code()),
            "extra_files": {n.removeprefix(_EXTRA): self._text(n) for n in self._members if n.startswith(_EXTRA)},
        }
        kept = {name: value for name, value in facts.items() if value}
        compiled = any(name.startswith(_COMPILED) for name in self._members)
        tree = {group: tensors for group, tensors in tree.items() if tensors}
        return Content(tree, COMPILED if compiled else EXPORTED, tuple(self._globals), kept)

    def _models(self) -> list[str]:
        """Name the models: each has a graph, or a folder of compiled files."""
        exported = [n.removeprefix("models/").removesuffix(".json") for n in self._members if n.startswith("models/")]
        compiled = [n.removeprefix(_COMPILED).partition("/")[0] for n in self._members if n.startswith(_COMPILED)]
        return list(dict.fromkeys([*exported, *compiled]))

    def _about_code(self) -> Iterator[tuple[str, Any]]:
        """Give what the compiled files are said to be: AOTInductor's own facts, and those of the program's author."""
        for name in self._members:
            if name.startswith(_COMPILED) and name.endswith(_ABOUT_CODE):
                yield from ((key, value) for key, value in self._json(name).items() if isinstance(value, str))

    def _tensors(self, group: str) -> Iterator[tuple[str, Any]]:
        folder, ending = _GROUPS[group]
        configs = [name for name in self._members if name.startswith(folder) and name.endswith(ending)]
        for config in configs:
            prefix = f"{config.removeprefix(folder).removesuffix(ending)}." if len(configs) > 1 else ""
            for name, row in _mapping(self._json(config).get("config"), config).items():
                yield prefix + name, self._entry(folder, name, _mapping(row, name))

    def _entry(self, folder: str, name: str, row: Mapping[str, Any]) -> Any:
        """Return a tensor, or the tree of one that torch.save wrote."""
        path = row.get("path_name")
        if not isinstance(path, str) or folder + path not in self._members:
            raise ForeignFileError(f"{name!r}: expected an entry in '{folder}', found none")
        extent = locate(self._window, self._members[folder + path])
        if row.get("use_pickle") is not False or row.get("tensor_meta") is None:
            part = self._window.part(extent.offset - self._window.begin, extent.size)
            saved = read_torch_zip(part) if part.read(0, min(2, part.size)) == b"PK" else None
            self._globals.update(dict.fromkeys(saved.globals if saved else ()))
            return saved.tree if saved else {"class": "an object of a program", "state": None}
        facts = _mapping(row.get("tensor_meta"), name)
        number = facts.get("dtype")
        dtype = _TYPES.get(number) if type(number) is int else None
        if dtype is None or facts.get("layout") != _STRIDED:
            raise ForeignFileError(f"{name!r}: expected a dense tensor of a known type, found another")
        storage = self._storages.setdefault(folder + path, Storage(extent, dtype, self._swapped))
        if storage.dtype != dtype:
            raise ForeignFileError(f"{name!r}: its entry is referred to with two types")
        shape, stride = (_integers(facts.get(part), name) for part in ("sizes", "strides"))
        (offset,) = _integers([facts.get("storage_offset")], name)
        return StridedTensor(storage, dtype, shape, offset, stride)

    def _json(self, name: str) -> Mapping[str, Any]:
        data = read_member(self._window, {name: self._members[name]}, name, _MAX_JSON)
        try:
            return _mapping(jsontext.loads(data), name)
        except ValueError as error:
            if isinstance(error, ForeignFileError):
                raise
            raise ForeignFileError(f"{name} is no JSON: {error}") from None

    def _text(self, name: str) -> str:
        """Return a small entry's text, and of another its size."""
        member = self._members[name]
        if member.size <= _SHOWN:
            data = read_member(self._window, {name: member}, name, _SHOWN)
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        return f"{member.size} bytes"


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ForeignFileError(f"{what}: expected an object, found {type(value).__name__}")
    return cast(dict[str, Any], value)


def _integers(value: Any, what: str) -> tuple[int, ...]:
    """Read numbers of a shape, each as {"as_int": n}; another kind of entry is a size that is not known yet."""
    items = cast(list[Any], value) if isinstance(value, list) else [None]
    found = [cast(dict[str, Any], item).get("as_int") if isinstance(item, dict) else None for item in items]
    if not all(type(number) is int for number in found):
        raise ForeignFileError(f"{what}: expected whole numbers as shape, strides and offset, found something else")
    return tuple(cast(list[int], found))
