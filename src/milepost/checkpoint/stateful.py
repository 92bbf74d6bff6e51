"""What takes part in a checkpoint: two methods, as in torch.distributed.checkpoint."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object whose state can be saved and restored.

    `load_state_dict(state_dict())` on an equal object leaves it computing exactly what the first would have.
    """

    def state_dict(self) -> Any:
        """Return the state as a tree (see `milepost.archive.Tree`); it may share memory with the object."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over `state_dict` whole, or raise naming what does not fit."""
        ...
