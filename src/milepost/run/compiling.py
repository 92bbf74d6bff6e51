"""Turn a function of tensors into machine code, and keep that for the next run.

On a processor the code is compiled ahead of time, by AOTInductor, into a library that lies in the user's cache under a
name that says what it computes and on which machine. A run that finds it there loads it in milliseconds and imports
nothing of torch's compiler. On an accelerator `torch.compile` does it, with the cache of its own.

Promise: the same code, and so the same bits, for the same function and inputs of the same form, whichever run compiled
it; a library that is damaged, or made by another torch or for other instructions, is never loaded. Nothing is drawn
from a random generator.
Needs: a C++ compiler on a processor, the first time.
Failure: OptionsError where the function can't be written out (`Recording`), or a library can't be kept or loaded; what
torch raises where compiling fails.
"""

import functools
import gc
import hashlib
import json
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from milepost.archive import atomic_write
from milepost.checkpoint import RandomState
from milepost.errors import OptionsError
from milepost.run.recording import Function, Recording

COMPILER_OPTIONS: dict[str, Any] = {"cpp.simdlen": 1}
"""Leave vectorizing to the C++ compiler: the code is as fast, and compiling it takes two thirds of the time."""

AHEAD_OF_TIME: dict[str, Any] = {"aot_inductor.precompile_headers": False}
"""For one file it takes longer to compile the headers first."""

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

Compiled = Callable[[Sequence[Tensor]], list[Tensor]]


def compiler_present() -> bool:
    """Tell whether this machine can compile for its processor: a C++ compiler."""
    return any(shutil.which(name) for name in ("g++", "c++", "clang++"))


def keep_compiled_code() -> Path:
    """Let torch's compiler keep what it compiles in the user's cache folder, where the next run finds it; return that.

    Its own default is the machine's temporary folder, which a job on a cluster does not find again; it writes that into
    the environment once it is asked. A place that the user chose (TORCHINDUCTOR_CACHE_DIR) stays.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen is None or Path(chosen).match(f"{tempfile.gettempdir()}/torchinductor_*"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ[_VARIABLE] = chosen = str(cache / "milepost" / "compiled")
    return Path(chosen)


def compiled(function: Function, examples: Sequence[Tensor], say: Callable[[], None]) -> Compiled:
    """Return what computes `function` for inputs like the examples, in one list.

    What it writes to an input is there afterwards if that lies in memory as its example did. `say` is called before
    anything is compiled that was not there.
    """
    with drawing_nothing(), torch.no_grad():
        recording = Recording(function, examples)
        if all(example.device.type == "cpu" for example in examples):
            return _Library(_found(recording, examples, say), examples)
        say()
        return _just_in_time(recording, examples)


class _Library:
    """Call a library with inputs that lie in memory as those did that it was compiled for."""

    def __init__(self, path: Path, examples: Sequence[Tensor]) -> None:
        self._strides = [example.stride() for example in examples]
        try:
            self._runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1)  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise OptionsError(
                f"could not load the compiled step '{path}': {error}. Set TORCHINDUCTOR_CACHE_DIR to a folder from "
                "which programs can be run, or architecture.training.compile: false."
            ) from error

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        found = [_laid_out(x, strides) for x, strides in zip(inputs, self._strides, strict=True)]
        results: list[Tensor] = self._runner.run(found)
        return results


def _laid_out(tensor: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Return a tensor itself, or a copy where its numbers lie otherwise: a library does not look."""
    if tensor.stride() == strides:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _just_in_time(recording: Recording, examples: Sequence[Tensor]) -> Compiled:
    keep_compiled_code()
    function = torch.compile(recording.module(), dynamic=False, fullgraph=True, options=COMPILER_OPTIONS)
    function(*examples)  # it is compiled when it is first called
    return lambda inputs: function(*(x.detach() for x in inputs))


def _found(recording: Recording, examples: Sequence[Tensor], say: Callable[[], None]) -> Path:
    """Return the library of a recording from the cache, compiled now where it is not there or not whole."""
    folder = keep_compiled_code() / "steps"
    key = hashlib.sha256(f"{_machine()}\n{recording.text()}".encode()).hexdigest()[:32]
    for path in sorted(folder.glob(f"{key}-*.so")):
        if path.stem == f"{key}-{_digest(path)}":
            return path
    _make_room(folder)
    say()
    with tempfile.TemporaryDirectory() as scratch, compiling():
        made = _compile(recording, examples, Path(scratch))
        path = folder / f"{key}-{_digest(made)}.so"
        for suffix in (".json", ".so"):  # the library last: where it is, all is there
            if made.with_suffix(suffix).exists():
                _put(made.with_suffix(suffix), path.with_suffix(suffix))
    return path


def _make_room(folder: Path) -> None:
    """Make the folder for libraries; raises OptionsError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionsError(
            f"could not keep compiled code in '{folder}': {error.strerror}. Set TORCHINDUCTOR_CACHE_DIR to a folder "
            "that can be written to, or architecture.training.compile: false."
        ) from error


def _compile(recording: Recording, examples: Sequence[Tensor], scratch: Path) -> Path:
    import torch._inductor  # as long to import as torch: only where there is something to compile

    options = COMPILER_OPTIONS | AHEAD_OF_TIME | {"aot_inductor.output_path": str(scratch)}
    found = torch._inductor.aot_compile(recording.module(), tuple(examples), options=options)
    return Path(str(found))


def _put(source: Path, target: Path) -> None:
    def copy(file: BinaryIO) -> None:
        file.write(source.read_bytes())

    atomic_write(target, copy, overwrite=True)


def _digest(path: Path) -> str:
    """Return the digest of a library, and of what stands beside it for operations that it has to call torch for."""
    beside = path.with_suffix(".json")
    content = path.read_bytes() + (beside.read_bytes() if beside.exists() else b"")
    return hashlib.sha256(content).hexdigest()[:16]


def _machine() -> str:
    """Say what the code depends on beside the recording: torch, the processor, threads, settings."""
    facts = {
        "torch": (torch.__version__, torch.version.git_version),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "options": COMPILER_OPTIONS | AHEAD_OF_TIME,
    }
    return json.dumps(facts, sort_keys=True)


@functools.cache
def _processor() -> list[str]:
    """Return the processor's name and instructions, as the system tells them: the code is for these alone."""
    telling = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = sorted({line for line in lines if line.partition(":")[0].strip() in telling})
    return [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability(), *found]


@contextmanager
def compiling() -> Iterator[None]:
    """Collect no garbage meanwhile, of a compiler's many live objects that takes a sixth of the time; and show none of
    torch's warnings about its own internals.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Put every global random generator back to where it was: a run compiles whenever it is started."""
    random = RandomState()
    before = random.state_dict()
    try:
        yield
    finally:
        random.load_state_dict(before)
