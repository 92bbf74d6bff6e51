"""Turn a function of tensors into machine code, and keep that for the next run.

On a processor the code is compiled ahead of time, by AOTInductor, into a library that lies in the user's cache under a
name that says what it computes and on which machine. A run that finds it there loads it in milliseconds and imports
nothing of torch's compiler. On an accelerator `torch.compile` does it, with the cache of its own.

Promise: the same code, and so the same bits, for the same function and inputs of the same form, whichever run compiled
it; a library that is damaged, somebody else's, or made by another torch or for other instructions, is never loaded.
Nothing is drawn from a random generator.
Needs: a C++ compiler on a processor, the first time.
Failure: OptionsError where the function can't be written out (`Recording`), or a library can't be kept or loaded; what
torch raises where compiling fails.
"""

import contextlib
import functools
import gc
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from milepost.archive import atomic_write
from milepost.checkpoint import RandomState
from milepost.errors import MilepostError, OptionsError
from milepost.run.recording import Function, Recording

COMPILER_OPTIONS: dict[str, Any] = {"cpp.simdlen": 1}
"""Leave vectorizing to the C++ compiler: the code is as fast, and compiling it takes two thirds of the time."""

AHEAD_OF_TIME: dict[str, Any] = {"aot_inductor.precompile_headers": False}
"""For one file it takes longer to compile the headers first."""

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

WITHOUT_EFFECT = (_VARIABLE, "TORCHINDUCTOR_COMPILE_THREADS")
"""Settings of torch's compiler that don't change the code."""

Compiled = Callable[[Sequence[Tensor]], list[Tensor]]


def compiler_present() -> bool:
    """Tell whether this machine can compile for its processor: the C++ compiler that torch calls."""
    return shutil.which(_compiler()) is not None


def _compiler() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


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


def recorded(function: Function, examples: Sequence[Tensor], own: Iterable[Tensor] = ()) -> Recording:
    """Write a function out; `own` are tensors that it must take as inputs.

    Raises OptionsError where that can't be done: see `Recording`, or torch has an error of its own.
    """
    with drawing_nothing(), torch.no_grad():
        try:
            return Recording(function, examples, own)
        except MilepostError:
            raise
        except Exception as error:  # of a loss that fails anyway the uncompiled step shows the same error
            raise OptionsError(
                "could not compile the training step: expected operations that can be written out, found "
                f"{type(error).__name__}: {error}. Set architecture.training.compile: false."
            ) from error


def compiled(recording: Recording, examples: Sequence[Tensor], say: Callable[[], None]) -> Compiled:
    """Return what computes what was recorded, for inputs like the examples, in one list.

    What it writes to an input is there afterwards if that lies in memory as its example did. `say` is called before
    anything is compiled that was not there.
    """
    with drawing_nothing(), torch.no_grad():
        if all(example.device.type == "cpu" for example in examples):
            return _found(recording, examples, say)
        say()
        return _just_in_time(recording, examples)


class _Library:
    """Call a library with inputs of the form that it was compiled for: it does not look."""

    def __init__(self, path: Path, examples: Sequence[Tensor]) -> None:
        self._forms = [_form(example) for example in examples]
        try:
            self._runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1)  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise OptionsError(
                f"could not load the compiled step '{path}': {error}. Set TORCHINDUCTOR_CACHE_DIR to a folder from "
                "which programs can be run, or architecture.training.compile: false."
            ) from error

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        found = [x if _form(x) == form else _laid_out(x, form) for x, form in zip(inputs, self._forms, strict=True)]
        results: list[Tensor] = self._runner.run(found)
        return results


_Form = tuple[torch.Size, tuple[int, ...], torch.dtype]


def _form(tensor: Tensor) -> _Form:
    return tensor.shape, tensor.stride(), tensor.dtype


def _laid_out(tensor: Tensor, form: _Form) -> Tensor:
    """Return a copy of a tensor whose numbers lie otherwise; raises ValueError where they are others."""
    shape, strides, dtype = form
    if (tensor.shape, tensor.dtype) != (shape, dtype):
        raise ValueError(
            f"could not compute a compiled step: expected a tensor {tuple(shape)} of {dtype}, found "
            f"{tuple(tensor.shape)} of {tensor.dtype}. Set architecture.training.compile: false."
        )
    return torch.empty_strided(shape, strides, dtype=dtype, device=tensor.device).copy_(tensor)


def _just_in_time(recording: Recording, examples: Sequence[Tensor]) -> Compiled:
    keep_compiled_code()
    function = torch.compile(recording.module(), dynamic=False, fullgraph=True, options=COMPILER_OPTIONS)
    function(*examples)  # it is compiled when it is first called
    return lambda inputs: function(*(x.detach() for x in inputs))


def _found(recording: Recording, examples: Sequence[Tensor], say: Callable[[], None]) -> Compiled:
    """Load the library of a recording from the cache; it is compiled now where it is not there, not whole, or can't be
    loaded.
    """
    folder = keep_compiled_code() / "steps"
    key = hashlib.sha256(f"{_machine()}\n{recording.text()}".encode()).hexdigest()[:32]
    _make_room(folder)
    for path in sorted(folder.glob(f"{key}-*.so")):
        with contextlib.suppress(FileNotFoundError, OptionsError):  # thrown away meanwhile, or made for another system
            if path.stem == f"{key}-{_digest(path)}":
                return _Library(path, examples)
    say()
    with tempfile.TemporaryDirectory() as scratch, compiling():
        made = _compile(recording, examples, Path(scratch))
        path = folder / f"{key}-{_digest(made)}.so"
        _make_room(folder)  # whoever threw it away meanwhile had a right to
        for suffix in (".json", ".so"):  # the library last: where it is, all is there
            if made.with_suffix(suffix).exists():
                _put(made.with_suffix(suffix), path.with_suffix(suffix))
    return _Library(path, examples)


def _make_room(folder: Path) -> None:
    """Make the folder for libraries, the user's alone, as they are programs.

    Raises OptionsError where nothing can be written to it, or it is somebody else's.
    """
    instead = "Set TORCHINDUCTOR_CACHE_DIR to another folder of your own, or architecture.training.compile: false."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder.stat().st_uid
        if owner == os.geteuid():
            folder.chmod(0o700)
            with tempfile.TemporaryFile(dir=folder):
                return
    except OSError as error:
        raise OptionsError(f"could not keep compiled code in '{folder}': {error.strerror}. {instead}") from error
    raise OptionsError(
        f"could not keep compiled code in '{folder}': expected a folder of the user {os.geteuid()}, who runs this, "
        f"found one of the user {owner}, who could put other programs there. {instead}"
    )


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
    """Return the digest of a library, and of what stands beside it for operations that it has to call torch for; of
    one that somebody else could have written, nothing.
    """
    content = b""
    for file in (path, path.with_suffix(".json")):
        if file is path or file.exists():
            with file.open("rb") as stream:
                if os.fstat(stream.fileno()).st_uid != os.geteuid():
                    return ""
                content += stream.read()
    return hashlib.sha256(content).hexdigest()[:16]


def _machine() -> str:
    """Say what the code depends on beside the recording: torch, the processor, threads, settings.

    Not which version the compiler has: where a job goes on at another node, the code that the first one compiled is
    still there, and computes the same bits.
    """
    facts = {
        "torch": (torch.__version__, torch.version.git_version),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "numbers": str(torch.get_default_dtype()),
        "deterministic": torch.get_deterministic_debug_mode() > 0,
        "compiler": _compiler(),
        "options": COMPILER_OPTIONS | AHEAD_OF_TIME,
        "environment": {name: value for name, value in os.environ.items() if _a_setting(name)},
    }
    return json.dumps(facts, sort_keys=True)


def _a_setting(name: str) -> bool:
    return name.startswith("TORCHINDUCTOR_") and name not in WITHOUT_EFFECT


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


@contextlib.contextmanager
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


@contextlib.contextmanager
def drawing_nothing() -> Iterator[None]:
    """Put every global random generator back to where it was: a run compiles whenever it is started."""
    random = RandomState()
    before = random.state_dict()
    try:
        yield
    finally:
        random.load_state_dict(before)
