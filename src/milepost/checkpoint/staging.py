"""One copy of a training state in memory of its own, made while training goes on.

Promise: what is staged is what the tensors held when they were handed over, bit for bit; the memory is reused
from copy to copy and is never more than one state. Needs: one thread that hands over, one that runs the copies.
Failure: an error of a copy comes out of `Copies.run`, and of `Copies.wait_for` in the thread that needs it.

A tensor on a CUDA device is copied into page-locked memory by a stream of its own; tensors in host memory by the
thread that calls `run`, with one core until somebody waits for it, then with as many as torch may use.
"""

import threading
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from milepost.archive import ArchivePlan

_Key: TypeAlias = tuple[str, str]
_Form: TypeAlias = tuple[torch.dtype, torch.Size, bool]
# Small enough to be done soon once somebody waits, large enough that cutting costs nothing.
_PIECE_BYTES = 16 * 2**20
# Numbers of the same size as any element: to copy these is to copy bits.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Copies:
    """The copies of one snapshot that are still to be made."""

    def __init__(self) -> None:
        self._jobs: dict[_Key, tuple[Tensor, Tensor]] = {}
        self._events: list[tuple[torch.device, torch.cuda.Event]] = []
        self._progress = threading.Condition()
        self._pending: set[_Key] = set()
        self._error: BaseException | None = None
        self._finished = threading.Event()
        self._awaited = threading.Event()

    def add(self, key: _Key, target: Tensor, source: Tensor) -> None:
        """Plan to copy `source` into `target`, which is contiguous; both are in host memory."""
        self._jobs[key] = target, source
        self._pending.add(key)

    def add_event(self, device: torch.device, event: torch.cuda.Event) -> None:
        """Count copies from `device` that were enqueued before `event`."""
        self._events.append((device, event))

    def run(self) -> None:
        """Make the copies in host memory."""
        try:
            for key, job in self._jobs.items():
                for target, source in _pieces(*job):
                    self._copy(target, source)
                with self._progress:
                    self._pending.discard(key)
                    self._progress.notify_all()
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._jobs.clear()
            self._finished.set()
            with self._progress:
                self._progress.notify_all()

    def wait_for(self, key: _Key) -> None:
        """Return once the copy of this tensor is made; raises the error of the copies if it never will be."""
        for _, event in self._events:
            event.synchronize()
        with self._progress:
            self._progress.wait_for(lambda: key not in self._pending or self._finished.is_set())
        if key in self._pending and self._error is not None:
            raise self._error

    def settle(self) -> None:
        """Return once nothing is copied any more, whether or not all copies were made."""
        self._finished.wait()
        for _, event in self._events:
            event.synchronize()

    def _copy(self, target: Tensor, source: Tensor) -> None:
        if self._awaited.is_set():
            target.copy_(source)  # with all threads that torch may use
        else:
            np.copyto(target.numpy(), source.numpy())  # one core, without Python's lock

    def join(self) -> None:
        """Return once the sources may be changed: by this thread, and by what it enqueues on its streams."""
        for device, event in self._events:
            torch.cuda.current_stream(device).wait_event(event)
        if self._jobs:  # emptied when they are done
            self._awaited.set()
            self._finished.wait()


class StagingBuffers:
    """Memory for one state at a time, kept from copy to copy."""

    def __init__(self) -> None:
        self._forms: dict[_Key, _Form] = {}
        self._buffers: dict[_Key, Tensor] = {}
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def stage(self, plan: ArchivePlan, steady: Iterable[Tensor]) -> tuple[ArchivePlan, Copies]:
        """Return the plan with copies in the place of its tensors, and the copies that are still to be made.

        Tensors that share a storage with one of `steady` may be copied later, until `Copies.join` returns; all
        others are copied before this returns. The copies of the plan before are overwritten.
        """
        tensors = {key: tensor.detach() for key, tensor in plan.tensors()}
        self._fit({key: _form(tensor) for key, tensor in tensors.items()})
        unchanging = {_storage(tensor) for tensor in steady}
        copies = Copies()
        later: dict[torch.device, list[_Key]] = {}
        with torch.no_grad():
            for key, tensor in tensors.items():
                device, target = tensor.device, self._buffers[key]
                on_cuda = device.type == "cuda"
                wait = on_cuda or device.type == "cpu"
                if wait and _storage(tensor) in unchanging:
                    later.setdefault(device, []).append(key)
                    continue
                target.copy_(tensor, non_blocking=on_cuda)
                if on_cuda:
                    later.setdefault(device, [])
            for device, keys in later.items():
                self._defer(copies, device, {key: tensors[key] for key in keys})
        return plan.with_tensors(self._buffers.__getitem__), copies

    def clear(self) -> None:
        """Free the memory."""
        self._forms.clear()
        self._buffers.clear()
        self._streams.clear()

    def _fit(self, forms: dict[_Key, _Form]) -> None:
        """Free what does not fit, then allocate what is missing: two states are never held at once."""
        self._buffers = {key: kept for key, kept in self._buffers.items() if forms.get(key) == self._forms[key]}
        self._forms = forms
        for key, (dtype, shape, pinned) in forms.items():
            if key not in self._buffers:
                size = shape.numel() * dtype.itemsize
                raw = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=pinned)
                self._buffers[key] = raw.view(dtype).view(shape)

    def _defer(self, copies: Copies, device: torch.device, tensors: dict[_Key, Tensor]) -> None:
        if device.type != "cuda":
            for key, source in tensors.items():
                copies.add(key, self._buffers[key], source)
            return
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        stream = self._streams[device]
        stream.wait_stream(torch.cuda.current_stream(device))  # for the values, and the copies enqueued there
        with torch.cuda.stream(stream):
            for key, source in tensors.items():
                self._buffers[key].copy_(source, non_blocking=True)
                source.record_stream(stream)  # the allocator must not give its memory away before
        event = torch.cuda.Event()
        event.record(stream)
        copies.add_event(device, event)


def _form(tensor: Tensor) -> _Form:
    return tensor.dtype, tensor.shape, tensor.device.type == "cuda"


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _pieces(target: Tensor, source: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Cut one copy into pieces that a thread that waits can hurry."""
    if source.is_conj() or source.is_neg():
        source = source.resolve_conj().resolve_neg()
    target, source = _bits(target), _bits(source)
    if source.nbytes <= _PIECE_BYTES or not source.is_contiguous():
        return [(target, source)]
    target, source = target.view(-1), source.view(-1)
    count = _PIECE_BYTES // target.element_size()
    cuts = range(0, target.numel(), count)
    return [(target[begin : begin + count], source[begin : begin + count]) for begin in cuts]


def _bits(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(_BITS[tensor.element_size()])
