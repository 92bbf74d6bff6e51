"""Read CIFAR-10 and CIFAR-100 in their binary version: for each image its labels, a byte each, and its bytes.

The format is that of A. Krizhevsky's pages: a label (CIFAR-10), or a coarse and a fine one (CIFAR-100), and 3 × 32 × 32
bytes, channel by channel. Failure: DataError naming the file and what is wrong with it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milepost.errors import DataError

SHAPE = (3, 32, 32)
BYTES = 3 * 32 * 32


def read_cifar(path: Path, content: bytes, labels: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images [n, 3, 32, 32] and labels [n] of a file whose records begin with so many labels.

    The last label of a record counts.
    """
    record = labels + BYTES
    if not content or len(content) % record:
        raise DataError(
            f"could not read '{path}': expected records of {record} bytes each, found {len(content)} bytes in all. "
            "Get the file again, in the binary version."
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    found = rows[:, labels - 1]
    if found.max() >= classes:
        number = int(np.argmax(found >= classes))
        raise DataError(
            f"could not read '{path}': expected labels below {classes}, found {found[number]} at image {number}. "
            "Get the file again, in the binary version."
        )
    return np.ascontiguousarray(rows[:, labels:]).reshape(-1, *SHAPE), found.copy()


def read_names(path: Path, content: bytes, classes: int) -> tuple[str, ...]:
    """Return the class names that a file lists, one a line."""
    names = tuple(line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != classes:
        raise DataError(
            f"could not read '{path}': expected {classes} class names, found {len(names)}. Get the file again."
        )
    return names
