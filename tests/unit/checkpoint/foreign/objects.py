"""Objects that people save with `torch.save`, by name."""

from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from torch import nn

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
COMPLEX = (torch.complex64, torch.complex128)
# Saved as untyped storages with the dtype beside them.
NEW = (
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
)  # fmt: skip


class Net(nn.Module):
    """A small network with tied weights, a norm with buffers and a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(3, 4)
        self.last.weight = self.first.weight


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Fill a tensor of any dtype with its own bytes."""
    count = torch.empty((), dtype=dtype).element_size()
    raw = torch.arange(int(np.prod(shape)) * count) % (2 if dtype is torch.bool else 251)
    return raw.to(torch.uint8).view(dtype).reshape(shape)


def trained() -> tuple[Net, torch.optim.Optimizer]:
    """Take a step with moments, so that the optimizer has a state."""
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), amsgrad=True)
    (net.norm(net.first(torch.ones(2, 3))).sum() + net.last(torch.ones(3)).sum()).backward()
    optimizer.step()
    return net, optimizer


def views() -> dict[str, torch.Tensor]:
    """Tie, slice, transpose and expand one memory."""
    base = torch.arange(24.0)
    return {
        "base": base,
        "slice": base[4:10],
        "rows": base.reshape(4, 6)[1:, ::2],
        "turned": base.reshape(4, 6).T,
        "same": base,
        "expanded": base[3:4].expand(5),
    }


def simple(old: bool) -> dict[str, Any]:
    """Give what both formats can hold; `old` leaves out what the old one cannot."""
    net, optimizer = trained()
    objects: dict[str, Any] = {
        "state dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "views": views(),
        "floats": {str(dtype): some(dtype, 2, 3) for dtype in FLOATS},
        "integers": {str(dtype): some(dtype, 2, 3) for dtype in (*INTEGERS, torch.bool)},
        "complex": {str(dtype): torch.ones(2, dtype=dtype) * (1 - 2j) for dtype in COMPLEX},
        "0-dim and empty": [torch.tensor(3.5), torch.empty(0), torch.empty(2, 0, 3)],
        "parameter": nn.Parameter(torch.ones(2)),
        "tensor": torch.arange(3),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "plain": {"a": [1, -2, 2**70, True, None, 2.5, "ü", (1, "b")], 3: {}},
        "ordered": OrderedDict([("b", 1), ("a", torch.zeros(1))]),
        "default": defaultdict(list, {"x": [1]}),
        "conjugate": [torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag],
    }
    if not old:
        objects["new dtypes"] = {str(dtype): some(dtype, 2, 3) for dtype in NEW}
    return objects
