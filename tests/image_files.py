"""Small files in the formats of MNIST and CIFAR, and images that can be told apart."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def idx(array: NDArray[np.uint8]) -> bytes:
    """Return the content of an IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(path: Path, array: NDArray[np.uint8]) -> Path:
    """Write an IDX file, compressed where its name ends in `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = idx(array.astype(np.uint8))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def numbered(count: int, rows: int = 4, columns: int = 5, seed: int = 0) -> NDArray[np.uint8]:
    """Return made-up images [count, rows, columns] without a dark place."""
    return np.random.default_rng(seed).integers(1, 256, (count, rows, columns), dtype=np.uint8)


def labels(count: int, classes: int = 10) -> NDArray[np.uint8]:
    """Return labels [count] that go round and round."""
    return (np.arange(count) % classes).astype(np.uint8)


def write_mnist(folder: Path, training: int = 40, test: int = 20, suffix: str = ".gz", seed: int = 0) -> Path:
    """Write the four files of a small set under the names of MNIST; return the folder."""
    for name, count, number in (("train", training, seed), ("t10k", test, seed + 1)):
        write_idx(folder / f"{name}-images-idx3-ubyte{suffix}", numbered(count, seed=number))
        write_idx(folder / f"{name}-labels-idx1-ubyte{suffix}", labels(count))
    return folder


def records(labels: NDArray[np.integer], seed: int = 0) -> tuple[bytes, NDArray[np.uint8]]:
    """Return the content of a CIFAR file with labels [images, labels of each], and its images."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    return np.concatenate([labels.astype(np.uint8), images.reshape(-1, 3 * 32 * 32)], axis=1).tobytes(), images
