"""Files of the safetensors library.

Promise: reads the header only; tensors fill the data exactly, each byte once.
Failure: ForeignFileError with the rule that is broken; `read_safetensors` returns None for a file of another kind.

Source: https://huggingface.co/docs/safetensors, section "Format".
"""

from typing import Any, cast

from milepost.archive import jsontext, tensorfile
from milepost.checkpoint.foreign.content import Content
from milepost.checkpoint.foreign.leaves import DTYPES, Storage, StridedTensor
from milepost.checkpoint.foreign.window import Window
from milepost.errors import ForeignFileError

SAFETENSORS = "safetensors file"
_TORCH_NAMES = {code: name for name, (code, _) in DTYPES.items()}
_START = 9


def read_safetensors(window: Window) -> Content | None:
    """Describe the file, or return None where it does not begin as one."""
    first = window.read(0, min(_START, window.size))
    if len(first) < _START or first[8:] != b"{" or int.from_bytes(first[:8], "little") > window.size:
        return None
    try:
        size = tensorfile.header_size(first, window.size)
        header = window.read(0, size)
        stored = tensorfile.parse_header(header, window.size)
        facts = cast(dict[str, Any], jsontext.loads(header[8:])).get(tensorfile.METADATA_KEY, {})
    except ValueError as error:
        raise ForeignFileError(f"its header is not one of a safetensors file: {error}") from None
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in cast(dict[str, Any], facts).values()):
        raise ForeignFileError("expected texts as metadata of a safetensors file, found something else")
    tree = {tensor.name: _leaf(window, size, tensor) for tensor in stored}
    return Content(tree, SAFETENSORS, facts=cast(dict[str, Any], facts))


def _leaf(window: Window, base: int, tensor: tensorfile.StoredTensor) -> StridedTensor:
    extent = window.extent(base + tensor.begin, tensor.end - tensor.begin)
    name = _TORCH_NAMES[tensor.dtype]
    return StridedTensor(Storage(extent, name), name, tensor.shape, 0, dense_strides(tensor.shape))


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a row-major tensor without gaps."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)
