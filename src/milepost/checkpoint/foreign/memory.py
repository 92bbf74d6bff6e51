"""Read described tensors into memory. The only module here that uses torch.

Promise: every bit is as in the file; tensors that were views of one storage are views of one memory again, and one
leaf is one tensor. Storages are compared with their checksums where the file has them.
Failure: ForeignFileError for damaged bytes; MemoryError as torch raises it.
"""

import math
import zlib

import torch

from milepost.checkpoint.foreign.leaves import DTYPES, ChunkedTensor, InlineTensor, Leaf, Storage, StridedTensor
from milepost.checkpoint.foreign.window import Extent, Files
from milepost.checkpoint.foreign.zipped import check_crc
from milepost.errors import ForeignFileError


class Memory:
    """Tensors and storages read so far, for one `Files.reading` block."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._storages: dict[Extent, torch.UntypedStorage] = {}
        self._tensors: dict[int, torch.Tensor] = {}

    def load(self, leaf: Leaf) -> torch.Tensor:
        """Return the tensor that a leaf describes."""
        if id(leaf) not in self._tensors:
            self._tensors[id(leaf)] = self._read(leaf)
        return self._tensors[id(leaf)]

    def _read(self, leaf: Leaf) -> torch.Tensor:
        if isinstance(leaf, StridedTensor):
            return self._strided(leaf)
        if isinstance(leaf, InlineTensor):
            return _inline(leaf)
        return self._joined(leaf)

    def _strided(self, leaf: StridedTensor) -> torch.Tensor:
        tensor = torch.empty(0, dtype=_dtype(leaf.dtype), device="cpu")
        if math.prod(leaf.shape) == 0:
            return tensor.new_empty(leaf.shape)
        if leaf.storage.swapped and DTYPES[leaf.dtype][1] != DTYPES[leaf.storage.dtype][1]:
            raise ForeignFileError(
                f"a tensor of {leaf.dtype} in a storage of {leaf.storage.dtype}: where the most significant byte comes "
                "first, expected the storage to say of which type its numbers are"
            )
        tensor.set_(self._storage(leaf.storage), leaf.offset, leaf.shape, leaf.stride)
        if leaf.dtype == "bool" and bool((tensor.view(torch.uint8) > 1).any()):
            raise ForeignFileError("expected only 0 and 1 in a boolean tensor, found other bytes")
        if leaf.conjugate:
            tensor = tensor.conj()
        return torch.neg(tensor) if leaf.negative else tensor

    def _storage(self, storage: Storage) -> torch.UntypedStorage:
        extent = storage.extent
        if extent not in self._storages:
            raw = torch.empty(extent.size, dtype=torch.uint8, device="cpu")
            data = raw.numpy().data
            self._files.read_into(extent, data)
            check_crc(extent, zlib.crc32(data) if extent.crc is not None else 0, "a storage")
            if storage.word > 1:
                whole = extent.size // storage.word * storage.word  # bytes may be left over that make no number
                raw[:whole] = raw[:whole].view(-1, storage.word).flip(1).flatten()
            self._storages[extent] = raw.untyped_storage()
        return self._storages[extent]

    def _joined(self, leaf: ChunkedTensor) -> torch.Tensor:
        if len(leaf.chunks) == 1:
            return self.load(leaf.chunks[0][1])
        whole = torch.empty(leaf.shape, dtype=_dtype(leaf.dtype), device="cpu")
        filled = torch.zeros(leaf.shape, dtype=torch.bool, device="cpu")
        for offsets, part in leaf.chunks:
            place = tuple(slice(begin, begin + n) for begin, n in zip(offsets, part.shape, strict=True))
            whole[place] = self.load(part)
            filled[place] = True
        # The pieces have as many elements as the whole: one is missing exactly where two overlap.
        if not bool(filled.all()):
            raise ForeignFileError("the pieces of a tensor overlap and leave a gap")
        return whole


def _inline(leaf: InlineTensor) -> torch.Tensor:
    dtype = _dtype(leaf.dtype)
    if not leaf.data:
        return torch.empty(leaf.shape, dtype=dtype, device="cpu")
    raw = torch.frombuffer(bytearray(leaf.data), dtype=torch.uint8)
    if leaf.dtype == "bool" and bool((raw > 1).any()):
        raise ForeignFileError("expected only 0 and 1 in a boolean array, found other bytes")
    flat = raw.view(dtype)
    if leaf.columns:
        return flat.reshape(leaf.shape[::-1]).permute(*reversed(range(len(leaf.shape)))).contiguous()
    return flat.reshape(leaf.shape)


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name)
