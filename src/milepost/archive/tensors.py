"""Tensors to bytes and back. The only module of the archive that imports torch.

Promise: dtype, shape and every bit of a tensor come back, NaN payloads included; the result owns its memory.
Failure: `stored_form` raises ValueError naming what cannot be stored; `from_stored` where a note does not
fit.
"""

from collections.abc import Callable, Hashable

import torch

from milepost.archive.tensorfile import DTYPE_BYTES, StoredTensor

_STORED: dict[torch.dtype, str] = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
    torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_LOADED = {code: dtype for dtype, code in _STORED.items()}
# What safetensors has no name for is stored as other numbers, with the dtype noted beside the tensor's name.
_PAIRS: dict[torch.dtype, str] = {torch.complex128: "F64", torch.complex64: "F32", torch.complex32: "F16"}
_BYTES = (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu)
_NOTED = {str(dtype).removeprefix("torch."): dtype for dtype in (*_PAIRS, *_BYTES)}


def stored_form(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], str | None]:
    """Return the stored dtype and shape, and the note that turns them back, None where none is needed."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise ValueError(f"expected a plain tensor, found {type(tensor).__name__}: convert it first")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise ValueError(f"expected a dense tensor, found layout {tensor.layout}: convert it with to_dense()")
    if tensor.device.type == "meta":
        raise ValueError("expected a tensor with values, found one on the meta device")
    shape = tuple(tensor.shape)
    if tensor.dtype in _STORED:
        return _STORED[tensor.dtype], shape, None
    note = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype in _PAIRS:
        return _PAIRS[tensor.dtype], (*shape, 2), note
    if tensor.dtype in _BYTES:
        return "U8", shape, note
    raise ValueError(f"the dtype {tensor.dtype} has no stored form")


def identity(tensor: torch.Tensor) -> Hashable:
    """Return equal keys for tensors that are the same view of the same memory, and for no others."""
    if tensor.numel() == 0:
        return id(tensor)
    view = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
    return (*view, tensor.device, tensor.is_conj(), tensor.is_neg())


def data_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes as stored, row-major; without a copy for a contiguous tensor in host memory."""
    if tensor.numel() == 0:
        return memoryview(b"")
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    # A single element counts as contiguous whatever its strides, which `view` does not accept.
    return plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data


def from_stored(stored: StoredTensor, note: str | None, fill: Callable[[memoryview], None]) -> torch.Tensor:
    """Build a tensor in fresh host memory, into which `fill` writes the stored bytes."""
    dtype = _loaded_dtype(stored, note)
    size = stored.end - stored.begin
    raw = torch.empty(size, dtype=torch.uint8, device="cpu")
    if size:
        fill(raw.numpy().data)
    if stored.dtype == "BOOL" and bool((raw > 1).any()):
        raise ValueError("expected only 0 and 1 in a boolean tensor, found other bytes")
    if dtype in _PAIRS:
        return torch.view_as_complex(raw.view(_LOADED[stored.dtype]).reshape(stored.shape))
    return raw.view(dtype).reshape(stored.shape)


def _loaded_dtype(stored: StoredTensor, note: str | None) -> torch.dtype:
    if note is None:
        return _LOADED[stored.dtype]
    dtype = _NOTED.get(note)
    if dtype is None:
        raise ValueError(f"the noted dtype {note!r} is not one of {', '.join(_NOTED)}")
    expected = _PAIRS.get(dtype, "U8")
    if stored.dtype != expected or (dtype in _PAIRS and stored.shape[-1:] != (2,)):
        raise ValueError(f"a tensor noted {note!r} is stored as {expected}, found {stored.dtype} {stored.shape}")
    return dtype


def check_tables() -> None:
    """Raise ValueError unless the table of dtypes here and that of the container agree."""
    if set(_LOADED) != set(DTYPE_BYTES):
        raise ValueError(f"expected {sorted(DTYPE_BYTES)}, found {sorted(_LOADED)}")
