"""What Lightning itself does not resume: random states, the place in an epoch's data, and what was due there.

Promise: a run that is resumed draws the same numbers, reads the same batches and steps the same schedulers as if it had
not been stopped, so that on one device it ends with the same bits. What stays outside is listed in
docs/how-to/lightning.md.
Failure: StateMismatchError for a file without this state, or of another number of processes.
"""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from milepost.checkpoint import RandomState
from milepost.errors import StateMismatchError, UnsupportedVersionError
from milepost.lightning import loops
from milepost.lightning.checkpoint_io import MilepostCheckpointIO
from milepost.lightning.distribution import Callback
from milepost.lightning.drafts import discard_left

_VERSION = 1


class ExactResume(Callback):
    """Save each process's random states with every checkpoint, and resume from them: `Trainer(callbacks=[...])`.

    Works with any checkpoint plug-in; names the run for `MilepostCheckpointIO`. With `replay`, a checkpoint from the
    middle of an epoch continues with the next batch of that epoch: the loader's earlier batches are read again and
    skipped, which needs `DataLoader`s over data sets with a length. Loaders that are resumable by themselves are left
    to do so. With `strict=False`, a file without this state is taken, and the generators stay as they are.
    """

    def __init__(self, *, strict: bool = True, replay: bool = True) -> None:
        super().__init__()
        self.strict = strict
        self.replay = replay
        self.run_id = uuid.uuid4().hex
        self._epoch_start: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Tell the plug-in whose checkpoints it saves; raises ValueError where another plug-in wraps it."""
        self._loaded = None
        plugin = trainer.strategy.checkpoint_io
        wrapped = getattr(plugin, "checkpoint_io", None)
        if isinstance(wrapped, MilepostCheckpointIO):
            raise ValueError(
                f"could not set up ExactResume: expected MilepostCheckpointIO by itself, found it in "
                f"{type(plugin).__name__}. It saves in the background alone: pass it to the Trainer without a wrapper."
            )
        if isinstance(plugin, MilepostCheckpointIO) and stage == "fit":
            plugin.begin_run(self.run_id, lambda: _numbers(trainer.callback_metrics))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state of every process to the checkpoint."""
        own = {"now": _random_state(trainer), "epoch_start": self._epoch_start}
        checkpoint.setdefault("callbacks", {})[self.state_key] = {
            "version": _VERSION,
            "run_id": self.run_id,
            "due": asdict(loops.Moment.now(trainer)),
            "metrics": {name: _on_host(value) for name, value in trainer.callback_metrics.items()},
            "processes": _gathered(own, trainer.world_size),
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Check that the file can be resumed from exactly; raises StateMismatchError, unless `strict=False`."""
        if trainer.state.fn != "fit":
            return
        state = (checkpoint.get("callbacks") or {}).get(self.state_key)
        if state is None:
            if self.strict:
                raise StateMismatchError(
                    "could not resume exactly: expected the random states of ExactResume in the checkpoint, found "
                    "none. Build it with ExactResume(strict=False) to resume without them."
                )
            return
        if state["version"] > _VERSION:
            raise UnsupportedVersionError(
                f"could not resume: the state of ExactResume has version {state['version']}, expected at most "
                f"{_VERSION}. Install a newer milepost."
            )
        count = len(state["processes"])
        if self.strict and count != trainer.world_size:
            raise StateMismatchError(
                f"could not resume exactly: expected {count} processes, as saved, found {trainer.world_size}. "
                "Resume with as many, or build ExactResume(strict=False)."
            )
        due = loops.Moment(**state["due"])
        can_end = self.replay and _own(state, trainer).get("epoch_start") is not None
        if due.validation or (due.epoch_end and can_end):
            loops.count_batch_as_completed(checkpoint["loops"], due)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a saved state until training starts."""
        self._loaded = state_dict

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on as the run that was saved, with what was due there; remove the drafts that a killed one left."""
        if trainer.is_global_zero and isinstance(trainer.strategy.checkpoint_io, MilepostCheckpointIO):
            discard_left(trainer.checkpoint_callbacks)
        if self._loaded is None:
            return
        self.run_id = self._loaded["run_id"]
        plugin = trainer.strategy.checkpoint_io
        if isinstance(plugin, MilepostCheckpointIO):
            plugin.run_id = self.run_id
        trainer.callback_metrics.update(self._loaded["metrics"])
        due = loops.Moment(**self._loaded["due"])
        own = _own(self._loaded, trainer)
        if loops.is_in_epoch(trainer):
            self._epoch_start = own.get("epoch_start")
            replay = self._epoch_start is not None and self._can_replay(trainer)
            if replay:
                _restore(self._epoch_start, trainer)
            loops.go_to(trainer, due, replay=replay)
        elif due.schedulers:
            loops.begin_next_epoch(trainer)
            loops.step_plateau_schedulers(trainer)
        _restore(own.get("now"), trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch from a state that a later process can begin it from again."""
        if self._loaded is not None:
            _restore(_own(self._loaded, trainer).get("now"), trainer)  # hooks may have drawn since training started
        self._loaded = None
        self._epoch_start = None
        if self._can_replay(trainer):
            self._epoch_start = _random_state(trainer)
            loops.iterate_if_lightning_does_not(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Let go of the loaded state: training goes on."""
        self._loaded = None

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Let go of the loaded state, and end an epoch that was resumed as any other."""
        self._loaded = None
        loops.let_schedulers_step(trainer)

    def _can_replay(self, trainer: Any) -> bool:
        return self.replay and loops.is_replayable(trainer)


def _own(state: Mapping[str, Any], trainer: Any) -> dict[str, Any]:
    """Return this process's part of a saved state, nothing where there were more or fewer processes."""
    processes = state["processes"]
    return processes[trainer.global_rank] if len(processes) == trainer.world_size else {}


def _random_state(trainer: Any) -> dict[str, Any]:
    """Return the states of the global generators, and of those that the loaders have of their own."""
    own = [generator.get_state() for generator in loops.generators(trainer)]
    return RandomState().state_dict() | {"loaders": own}


def _restore(state: Mapping[str, Any] | None, trainer: Any) -> None:
    if state is None:
        return
    saved = _on_host(state)
    for generator, own in zip(loops.generators(trainer), saved.pop("loaders"), strict=False):
        generator.set_state(own)
    RandomState().load_state_dict(saved)


def _on_host(tree: Any) -> Any:
    """Bring tensors back to host memory, where generators' states belong, wherever the file was loaded to."""
    if isinstance(tree, torch.Tensor):
        return tree.cpu()
    if isinstance(tree, Mapping):
        return {key: _on_host(item) for key, item in tree.items()}
    return [_on_host(item) for item in tree] if isinstance(tree, list) else tree


def _gathered(own: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Collect the states of all processes, in the order of their ranks."""
    if count == 1:
        return [own]
    states: list[Any] = [None] * count
    torch.distributed.all_gather_object(states, own)
    return states


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
