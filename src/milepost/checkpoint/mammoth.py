"""What a checkpoint of Mammoth holds, and how one is laid out: between its keys and plain values.

    model       the method's state dict: the backbone's names behind `net.`
    optimizer   torch's own state, by the positions of the parameters; scheduler: the same, or None
    args        the command line, as a dict
    results     [rows of accuracies, the same among a task's own classes, the logger's state]
    buffer      kept examples by attribute, one entry for each of `buffer_size` places

Source: `save_mammoth_checkpoint` and `mammoth_load_checkpoint` in `utils/checkpoints.py`, `Buffer.serialize` in
`utils/buffer.py`, `load_buffer` in `models/utils/continual_model.py`, `Logger.dump` in `utils/loggers.py` of Mammoth
(https://github.com/aimagelab/mammoth, commit e75a491). Both of its modes are read, `safe` and `old_pickle`; what is
laid out here is of the first.

Promise: a layout holds tensors and plain containers alone, so that `torch.load(weights_only=True)` opens it.
Failure: ForeignFileError naming the entry that is not as Mammoth writes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from milepost.errors import ForeignFileError

if TYPE_CHECKING:
    from milepost.checkpoint.foreign import ForeignFile

KIND = "mammoth checkpoint"
BACKBONE = "net"
"""What the backbone is called in the method's module."""

ATTRIBUTES = ("examples", "labels", "logits", "task_labels", "true_labels")
"""What a buffer keeps of an example."""

Rows = tuple[tuple[float, ...], ...]
"""Accuracies in percent: in row i, after task i was learned, those on the tasks 0 … i."""


@dataclass(frozen=True)
class MammothState:
    """Hold the content of a file.

    `seen` is how many examples the buffer was offered; None where the file does not say, as in Mammoth's mode `safe`.
    `buffer` has the filled places only, as far as `seen` tells which they are.
    """

    weights: Mapping[str, Tensor]
    args: Mapping[str, Any]
    accuracy: Rows
    task_accuracy: Rows
    buffer: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    seen: int | None = None

    @property
    def tasks_done(self) -> int:
        """The number of tasks that there are results of."""
        return len(self.accuracy)


def read_mammoth(found: "ForeignFile") -> MammothState:
    """Read an open file of Mammoth's; raises ForeignFileError where an entry is not as expected."""
    tree = cast(dict[str, Any], found.tree())
    weights = {name: value for name, value in _fields(tree["model"]).items() if isinstance(value, Tensor)}
    rows, seen = _results(found, tree["results"]), None
    kept = _fields(tree.get("buffer"))
    kept = _fields(kept.get("state")) if "class" in kept else kept
    if type(kept.get("num_seen_examples")) is int:
        seen = cast(int, kept["num_seen_examples"])
    buffer = {name: kept[name][:seen] for name in ATTRIBUTES if isinstance(kept.get(name), Tensor)}
    lengths = {name: len(value) for name, value in buffer.items()}
    if len(set(lengths.values())) > 1:
        raise _wrong(found, f"buffer: expected as many of each attribute, found {lengths}")
    return MammothState(weights, _fields(tree["args"]), *rows, buffer, seen)


@dataclass(frozen=True)
class KeptExamples:
    """Hold what a buffer keeps for a layout: attributes of the filled places, and how many places it has."""

    attributes: Mapping[str, Tensor]
    capacity: int


def lay_out(
    weights: Mapping[str, Tensor],
    args: Mapping[str, Any],
    accuracy: Sequence[Sequence[float]],
    task_accuracy: Sequence[Sequence[float]] | None,
    *,
    optimizer: Mapping[str, Any] | None = None,
    buffer: KeptExamples | None = None,
) -> dict[str, Any]:
    """Lay out a file of Mammoth's; `weights` have the names of its backbone.

    `task_accuracy` is None where there is but one read-out. Empty places of a buffer repeat the filled ones: Mammoth
    takes every place of a file that it loads for an example, and zeros for blank examples of the first class.
    """
    empty: list[list[float]] = [[] for _ in accuracy]
    own = empty if task_accuracy is None else [list(row) for row in task_accuracy]
    tree: dict[str, Any] = {
        "model": {f"{BACKBONE}.{name}": value.detach().cpu().contiguous() for name, value in weights.items()},
        "optimizer": None if optimizer is None else dict(optimizer),
        "scheduler": None,
        "args": dict(args),
        "results": [[list(row) for row in accuracy], own, _logger(accuracy, task_accuracy)],
    }
    if buffer is not None and buffer.attributes:
        tree["buffer"] = {name: _padded(buffer.attributes[name], buffer.capacity) for name in _attributes(buffer)}
    return tree


def optimizer_state(state: Mapping[str, Any], parameters: Sequence[str]) -> dict[str, Any]:
    """Turn a state by the names of the parameters into torch's, by their positions."""
    place = {name: number for number, name in enumerate(parameters)}
    groups = [{**group, "params": list(range(len(parameters)))} for group in state["groups"]]
    return {"state": {place[name]: dict(found) for name, found in state["state"].items()}, "param_groups": groups}


def _attributes(buffer: KeptExamples) -> list[str]:
    return [name for name in ATTRIBUTES if name in buffer.attributes]


def _padded(values: Tensor, capacity: int) -> Tensor:
    dtype = torch.float32 if values.is_floating_point() else torch.int64
    return values.to(dtype)[torch.arange(capacity, device=values.device) % len(values)].cpu()


def _logger(accuracy: Sequence[Sequence[float]], own: Sequence[Sequence[float]] | None) -> dict[str, Any]:
    """Give the state of Mammoth's logger; scores that it computes at the very end are None until then."""
    scores = ("fwt", "bwt", "forgetting")
    none = {f"{name}{suffix}": None for suffix in ("", "_mask_classes") for name in scores}
    state: dict[str, Any] = {"accs": _means(accuracy), "fullaccs": [list(row) for row in accuracy], **none}
    if own is not None:
        state |= {"accs_mask_classes": _means(own), "fullaccs_mask_classes": [list(row) for row in own]}
    return state


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(row) / len(row) for row in rows]


def _results(found: "ForeignFile", results: Any) -> tuple[Rows, Rows]:
    if results is None:
        return (), ()
    parts = cast(list[Any], results) if isinstance(results, list | tuple) else []
    rows = tuple(_rows(part) for part in parts[:2])
    if len(rows) < 2 or rows[0] is None or rows[1] is None:
        raise _wrong(found, "results: expected two lists of rows of numbers, found something else")
    return rows[0], tuple(row for row in rows[1] if row)


def _rows(part: Any) -> Rows | None:
    if not isinstance(part, list | tuple):
        return None
    rows: list[tuple[float, ...]] = []
    for row in cast(list[Any], part):
        if not isinstance(row, list | tuple):
            return None
        values = cast(list[Any], row)
        if not all(isinstance(value, int | float) for value in values):
            return None
        rows.append(tuple(map(float, values)))
    return tuple(rows)


def _fields(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _wrong(found: "ForeignFile", problem: str) -> ForeignFileError:
    return ForeignFileError(
        f"could not read '{found.path}' as a checkpoint of Mammoth's: {problem}. "
        "Convert its weights to a .pt file, and begin with those."
    )
