"""BLAKE3 digests, as 64 lower-case hexadecimal digits.

Source of the function: https://github.com/BLAKE3-team/BLAKE3-specs.
"""

import re
from collections.abc import Iterator

from blake3 import blake3

ALGORITHM = "blake3"
CHUNK = 16 * 2**20
# Starting the hasher's own threads costs more than hashing a few MiB in this one.
_THREADS_PAY_FROM = 32 * 2**20

_HEX = re.compile(r"[0-9a-f]{64}")


def new_hasher(size: int) -> blake3:
    """Return a hasher suited to `size` bytes: several threads only where they pay."""
    return blake3(max_threads=blake3.AUTO if size >= _THREADS_PAY_FROM else 1)


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of `data` as hexadecimal digits."""
    hasher = new_hasher(len(data))
    hasher.update(data)
    return hasher.hexdigest()


def is_digest(value: object) -> bool:
    """Tell whether `value` is text of the form that `digest_of` returns."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def named(hexadecimal: str) -> str:
    """Write a digest with its algorithm, `blake3:<64 digits>`, as files and people quote it."""
    return f"{ALGORITHM}:{hexadecimal}"


def chunks(data: memoryview) -> Iterator[memoryview]:
    """Cut `data` into pieces that stay in the processor's cache while they are hashed and written."""
    for begin in range(0, len(data), CHUNK):
        yield data[begin : begin + CHUNK]
