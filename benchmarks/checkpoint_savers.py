"""Ways to save a training state, each behind the same four calls, each durable when `wait` returns.

`save` hands over, `before_step` must return before the optimizer changes anything, `wait` returns when file and
folder are on the device. Programs that do not sync by themselves are given an fsync of the file and of its folder,
where they write. `load` reads a saved state back.
"""

import importlib.util
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from milepost.archive import writer
from milepost.archive.checksum import crc32
from milepost.checkpoint import BackgroundSaver, CheckpointRecord, load_checkpoint, save_checkpoint

State = Mapping[str, Any]
"""Component to what has a `state_dict`: here a module and an optimizer."""


def gathered(state: State) -> dict[str, Any]:
    """Gather the state dicts."""
    return {name: part.state_dict() for name, part in state.items()}


def tensors_in(tree: Any, *path: str) -> Iterator[tuple[str, Tensor]]:
    """Give every tensor of a tree with its path."""
    if isinstance(tree, Tensor):
        yield ".".join(path), tree.detach()
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from tensors_in(value, *path, str(key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from tensors_in(value, *path, str(index))


def sync(path: Path) -> None:
    """Put a file and the name of it on the device."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Direct:
    """Save in the training thread: nothing is left to wait for."""

    name = ""
    background = False

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Save durably."""
        raise NotImplementedError

    def before_step(self) -> None:
        """Return: all is done."""

    def wait(self) -> None:
        """Return: all is done."""

    def close(self) -> None:
        """Return: there is nothing to free."""


class MilepostDirect(Direct):
    """Milepost's function."""

    name = "Milepost, save_checkpoint"

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Save durably."""
        save_checkpoint(path, state, record=CheckpointRecord("bench"), overwrite=True)

    def load(self, path: Path) -> Any:
        """Load, every tensor verified."""
        with load_checkpoint(path) as checkpoint:
            return {name: checkpoint.state(name) for name in checkpoint.components}


class MilepostBackground(MilepostDirect):
    """Milepost's background saver."""

    name = "Milepost, BackgroundSaver"
    background = True
    crc32 = staticmethod(crc32)

    def __init__(self) -> None:
        self._saver = BackgroundSaver()

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Hand over."""
        self.wait()
        writer.crc32 = self.crc32
        self._saver.save(path, state, record=CheckpointRecord("bench"), overwrite=True, steady=steady)

    def before_step(self) -> None:
        """Wait for the copy."""
        self._saver.before_step()

    def wait(self) -> None:
        """Wait for the file."""
        self._saver.wait()

    def close(self) -> None:
        """Free the memory."""
        self._saver.close()


class MilepostWithoutIsal(MilepostBackground):
    """The same where the optional package isal is absent."""

    name = "Milepost, BackgroundSaver without isal"
    crc32 = staticmethod(zlib.crc32)


class Plain(Direct):
    """Write the tensors' bytes, one after the other, and sync: what no durable save can be faster than."""

    name = "plain write + fsync"

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Write the bytes."""
        with path.open("wb", buffering=0) as stream:
            for _, tensor in tensors_in(gathered(state)):
                data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
                while data:
                    data = data[stream.write(data) :]
        sync(path)


class TorchSave(Direct):
    """torch.save, and a sync."""

    name = "torch.save + fsync"

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Save, then sync."""
        torch.save(gathered(state), path)
        sync(path)

    def load(self, path: Path) -> Any:
        """Load into memory, unverified."""
        return torch.load(path, weights_only=True)


class TorchMapped(TorchSave):
    """torch.load with the file mapped; every page is touched, since nothing is read before."""

    name = "torch.load, mmap, touched"

    def load(self, path: Path) -> Any:
        """Map, and add up one number of each page."""
        state = torch.load(path, weights_only=True, mmap=True)
        for _, tensor in tensors_in(state):
            tensor.reshape(-1)[::1024].sum()
        return state


class Safetensors(Direct):
    """safetensors, and a sync; tensors only."""

    name = "safetensors + fsync"

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Save, then sync."""
        safetensors.torch.save_file(dict(tensors_in(gathered(state))), path)
        sync(path)

    def load(self, path: Path) -> Any:
        """Load into memory, unverified."""
        return {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}


class Distributed(Direct):
    """torch.distributed.checkpoint.async_save in a thread, one process; it syncs its files by itself."""

    name = "DCP async_save"
    background = True

    def __init__(self) -> None:
        self._saving: Future[Any] | None = None

    def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
        """Copy; it would refuse to have two saves in flight, so wait for the one before."""
        self.wait()
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        files = dcp.FileSystemWriter(path, sync_files=True)
        self._saving = dcp.async_save(gathered(state), storage_writer=files, no_dist=True)

    def wait(self) -> None:
        """Wait for the files."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None


def lightning_saver() -> Direct | None:
    """Make Lightning's AsyncCheckpointIO around torch.save and a sync, None where Lightning is not installed."""
    if importlib.util.find_spec("lightning") is None:
        return None
    from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

    class Synced(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            sync(Path(path))

    class Lightning(TorchSave):
        name = "Lightning AsyncCheckpointIO + fsync"
        background = True

        def __init__(self) -> None:
            self._plugin = AsyncCheckpointIO(Synced())

        def save(self, path: Path, state: State, steady: Iterable[Tensor]) -> None:
            self._plugin.save_checkpoint(gathered(state), path)

        def wait(self) -> None:
            self._plugin.teardown()

        def close(self) -> None:
            self._plugin.teardown()

    return Lightning()
