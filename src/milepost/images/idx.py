"""Read IDX files, the format of MNIST: a magic number, the size of each dimension, and the bytes themselves.

The format is that of Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits: two zero bytes,
the type (8 for unsigned bytes), the number of dimensions, each size as a big-endian 32-bit integer, the data. A file
may be compressed by gzip.

Promise: what is returned are the file's bytes and nothing more is read than it says it has. Failure: DataError naming
the file and what is wrong with it.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from milepost.errors import DataError

GZIP = b"\x1f\x8b"
UNSIGNED_BYTES = 8
MOST_DIMENSIONS = 4


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed where it is compressed by gzip."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"could not read '{path}': expected a whole file compressed by gzip, found: {error}. Get the file again."
        ) from error
    except OSError as error:
        raise DataError(f"could not read '{path}': {error.strerror}. Make the file readable.") from error


def content_digest(content: bytes) -> str:
    """Digest what a file holds; compressed or not it is the same."""
    return f"blake3:{blake3(content).hexdigest()}"


def read_idx(path: Path, content: bytes) -> NDArray[np.uint8]:
    """Return the array that an IDX file's `content` describes; `path` names the file in errors."""
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or not 1 <= content[3] <= MOST_DIMENSIONS:
        raise DataError(
            f"could not read '{path}': expected an IDX file of unsigned bytes in 1 to {MOST_DIMENSIONS} dimensions, "
            f"which begins with 00 00 08 and their number, found {content[:4].hex(' ') or 'an empty file'}. "
            "Name another file."
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise _wrong_size(path, f"{start} bytes before the data", len(content))
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) != start + math.prod(sizes):
        shape = " × ".join(str(size) for size in sizes)
        raise _wrong_size(path, f"{start + math.prod(sizes)} bytes for {shape}", len(content))
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _wrong_size(path: Path, expected: str, found: int) -> DataError:
    return DataError(f"could not read '{path}': expected {expected}, found {found}. Get the file again.")
