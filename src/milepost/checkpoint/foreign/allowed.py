"""The closed list of objects that mean something here, and what each means.

Promise: what is on the list becomes a plain value or a leaf by the fixed rule below; nothing of the same name is
imported or called. `HARMLESS` are the names that make no file suspicious.
Failure: ForeignFileError where such an object was not given what its class takes.

Source of the signatures: `torch/_utils.py`, `torch/_tensor.py` of PyTorch 1.0 to 2.13 and the `__reduce__` methods of
Python's containers.
"""

from typing import Any, cast

from milepost.checkpoint.foreign.arrays import ARRAYS, NUMPY_NAMES
from milepost.checkpoint.foreign.leaves import DTYPES, MAX_RANK, STORAGE_DTYPES, Storage, StridedTensor
from milepost.checkpoint.foreign.nodes import Global, Instance, Node, Pairs, Reference, list_of, tuple_of
from milepost.checkpoint.foreign.plain import Meaning, Place, Plain, bytes_of
from milepost.errors import ForeignFileError

MAX_FLAGS = 8


def arguments(instance: Instance, least: int) -> tuple[Node, ...]:
    """Return the positional arguments; raises ForeignFileError where there are fewer than `least`."""
    found = tuple_of(instance.arguments)
    if len(found) < least:
        raise ForeignFileError(f"expected {least} or more arguments, found {len(found)}")
    return found


def integers(node: Node) -> tuple[int, ...]:
    """Read a tuple, a list or a torch.Size of integers."""
    if isinstance(node, Instance) and isinstance(node.callable, Global) and node.callable.full == "torch.Size":
        (node,) = arguments(node, 1)[:1]
    items = (tuple_of(node) or list_of(node)) if isinstance(node, tuple | list) else (None,)
    if len(items) > MAX_RANK or not all(type(item) is int for item in items):
        raise ForeignFileError(f"expected at most {MAX_RANK} integers as sizes or strides, found something else")
    return tuple(cast(list[int], items))


def dtype_name(node: Node) -> str:
    """Read a torch.dtype."""
    if isinstance(node, Global) and node.module == "torch" and node.name in DTYPES:
        return node.name
    found = node.full if isinstance(node, Global) else type(node).__name__
    raise ForeignFileError(f"expected a dtype among {', '.join(DTYPES)}, found {found}")


def _strided(plain: Plain, parts: tuple[Node, ...], dtype: str | None, metadata: Node) -> StridedTensor | None:
    """Return the view that a tensor is, None where its storage is in the pickle itself, as `pickle.dump` puts it."""
    if isinstance(parts[0], Instance):
        return None
    storage, offset = plain.storage(parts[0].key) if isinstance(parts[0], Reference) else None, parts[1]
    if not isinstance(storage, Storage):
        raise ForeignFileError("expected a storage, found something else")
    if type(offset) is not int:
        raise ForeignFileError("expected an integer as offset, found something else")
    pairs = metadata.pairs if isinstance(metadata, Pairs) else []
    flags = {key: value for key, value in pairs[:MAX_FLAGS] if isinstance(key, str)}
    return StridedTensor(
        storage,
        dtype or storage.dtype,
        integers(parts[2]),
        offset,
        integers(parts[3]),
        conjugate=flags.get("conj") is True,
        negative=flags.get("neg") is True,
    )


def _tensor(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `_rebuild_tensor(storage, offset, size, stride)`; version 2 adds gradient, hooks and metadata."""
    parts = arguments(instance, 4)
    found = _strided(plain, parts, None, parts[6] if len(parts) > 6 else None)
    return found or plain.described(instance, place)


def _tensor_with_dtype(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `_rebuild_tensor_v3`: the dtype stands beside an untyped storage."""
    parts = arguments(instance, 7)
    found = _strided(plain, parts, dtype_name(parts[6]), parts[7] if len(parts) > 7 else None)
    return found or plain.described(instance, place)


def _first_argument(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean what adds no number to its first argument: a Parameter, another device, a layout, a type of TorchScript."""
    return plain.tree(arguments(instance, 1)[0], place)


def _typed(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes or a subclass of one."""
    function, _, inner, _ = arguments(instance, 4)[:4]
    if isinstance(function, Global) and function.full in _TENSORS:
        return _TENSORS[function.full](plain, Instance(function, inner), place)
    return plain.described(instance, place)


def _mapping(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean a dict class; what it was made from comes first."""
    result: dict[str | int, Any] = {}
    for given in arguments(instance, 0):
        pairs = given.pairs if isinstance(given, Pairs) else _from_lists(plain, list_of(given))
        result.update(plain.mapping(pairs, place))
    result.update(plain.mapping(instance.pairs, place))
    return result


def _from_lists(plain: Plain, given: list[Node]) -> list[tuple[Node, Node]]:
    plain.spend(len(given))
    items = [tuple_of(item) or list_of(item) for item in given]
    return [(item[0], item[1]) for item in items if len(item) == 2]


def _namespace(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean an argparse.Namespace: its attributes."""
    states = [state for state in instance.states[-1:] if isinstance(state, Pairs)]
    return plain.mapping(states[-1].pairs, place) if states else {}


def _size(plain: Plain, instance: Instance, place: Place) -> Any:
    return integers(arguments(instance, 1)[0])


def _device(plain: Plain, instance: Instance, place: Place) -> Any:
    parts = plain.items(arguments(instance, 1)[:2], place)
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


def _path(plain: Plain, instance: Instance, place: Place) -> Any:
    parts = [part for part in plain.items(arguments(instance, 0), place) if isinstance(part, str)]
    return "/".join(parts).replace("//", "/", 1) or "."


def _complex(plain: Plain, instance: Instance, place: Place) -> Any:
    return {"class": "builtins.complex", "state": plain.items(arguments(instance, 2)[:2], place)}


def _collection(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean set([…]) and its relatives as protocols 2 and 3 write them."""
    given = arguments(instance, 0)
    source = tuple_of(given[0]) or list_of(given[0]) if given else ()
    items = [*plain.items(source, place), *plain.items(instance.appended, place)]
    return {"class": cast(Global, instance.callable).full, "state": items}


def _bytes(plain: Plain, instance: Instance, place: Place) -> Any:
    found = bytes_of(instance)
    return plain.described(instance, place) if found is None else plain.tree(found, place)


_MARKS = ("restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
_TENSORS: dict[str, Meaning] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils._rebuild_parameter": _first_argument,
    "torch._utils._rebuild_parameter_with_state": _first_argument,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first_argument,
    "torch._utils._rebuild_device_tensor_from_numpy": _first_argument,
    "torch.nn.parameter.Parameter": _first_argument,
}
MEANINGS: dict[str, Meaning] = {
    **_TENSORS,
    **ARRAYS,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _first_argument,
    **{f"torch.jit._pickle.{name}": _first_argument for name in _MARKS},
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "argparse.Namespace": _namespace,
    "builtins.set": _collection,
    "builtins.frozenset": _collection,
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _bytes,
    "pathlib.PosixPath": _path,
    "pathlib.WindowsPath": _path,
    "pathlib.PurePosixPath": _path,
    "pathlib.PureWindowsPath": _path,
    "pathlib._local.PosixPath": _path,
    "pathlib._local.WindowsPath": _path,
}
# Names that stand alone: what each becomes where it is a value.
_OTHER_NAMES = ("strided", "sparse_coo", "qint8", "quint8", "qint32", "per_tensor_affine", "per_channel_affine")
NAMES: dict[str, Any] = {f"torch.{name}": f"torch.{name}" for name in (*DTYPES, *_OTHER_NAMES)}
HARMLESS = frozenset(
    {
        *MEANINGS,
        *NAMES,
        *NUMPY_NAMES,
        *(f"torch.{name}" for name in STORAGE_DTYPES),
        *(f"torch.cuda.{name}" for name in STORAGE_DTYPES),
        "torch.storage.UntypedStorage",
        "torch.Tensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_qtensor",
        "builtins.dict",
        "builtins.list",
        "builtins.int",
        "builtins.float",
        "builtins.str",
        "builtins.bool",
    }
)
