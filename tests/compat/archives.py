"""The container's stored file: an archive with one of everything that a tree may hold.

`archives/v<version>.zip` is what the writer of that version of the format made of `tree()`, byte for byte.
"""

import math
from pathlib import Path
from typing import Any

import torch

from milepost.archive import write_archive

FOLDER = Path(__file__).parent / "archives"
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.complex128, torch.complex64,
    torch.complex32, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
    torch.uint8, torch.bool,
)  # fmt: skip


def tensor(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Make a tensor whose bytes are 0, 1, 2 and so on; those of booleans alternate."""
    size = math.prod(shape) * dtype.itemsize
    raw = torch.arange(size, dtype=torch.int64) % (2 if dtype is torch.bool else 251)
    return raw.to(torch.uint8).view(dtype).reshape(shape)


def tree() -> dict[str, Any]:
    """Build a tree with every notation, type and shape of the format."""
    tied = tensor(torch.float32, 2, 3)
    return {
        "types": {str(dtype).removeprefix("torch."): tensor(dtype, 3) for dtype in DTYPES},
        "shapes": [tensor(torch.int16), tensor(torch.complex64), tensor(torch.float32, 0, 4), tensor(torch.bool, 2, 2)],
        "tied": {"one": tied, "other": (tied, tied), "row": tied[0], "turned": tied.t()},
        "numbers": [0, -1, 2**63, -(2**1000), 1.0, -0.0, 5e-324, 0.1, 1e22, math.inf, -math.inf, math.nan],
        "plain": [None, True, False, "", "é\u2028\u0000\"\\/", [], {}, ()],
        "tuples": ((1, (2,)), [(3, [4])]),
        "keys": {0: "a", "0": "b", -7: {"$tensor": "not one"}, "$": [], "": None, "a.b": {"c": 1}},
        "a": {"b": {"c": tensor(torch.uint8, 1)}, "b.c": tensor(torch.uint8, 2)},
        "__metadata__": tensor(torch.int8, 1),
    }  # fmt: skip


def stored(version: int) -> Path:
    """Name the stored file of a version of the format."""
    return FOLDER / f"v{version}.zip"


def write(path: Path) -> Path:
    """Write the archive with the writer of today; return where it is."""
    write_archive(
        path,
        kind="test",
        components={"everything": tree(), "bare": tensor(torch.float64, 2), "empty": {}},
        files={"options.yaml": "seed: 1 # é\n".encode(), "source/a/é.py": b"x = 1\n", "nothing": b""},
        manifest={"metrics": {"loss": math.nan}, "counts": {3: (1, 2)}, "text": "é"},
        durability="process",
        overwrite=True,
    )
    return path
