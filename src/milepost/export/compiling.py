"""Compile a program ahead of time into a `.pt2` package, by AOTInductor.

Promise: the package holds no source, and names no folder of the machine that compiled it.
Needs a C++ compiler to export, none to run. A package runs on the kind of device that it was compiled for.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch._inductor import config
from torch._inductor.exc import CppCompileError
from torch._inductor.runtime.cache_dir_utils import cache_dir

from milepost.errors import ExportError
from milepost.export.traces import remove_traces
from milepost.run.compiling import compiler_present, compiling

SETTINGS: dict[str, Any] = {
    # Nearly all of the compiler's time goes into headers; for one file it is cheaper not to precompile them
    # first.
    "aot_inductor.precompile_headers": False,
    # As many threads as the process that runs the package allows, not as the one that compiled it.
    "cpp.dynamic_threads": True,
    # A product and the sum that it goes into are one instruction, rounded once.
    "cpp.enable_floating_point_contract_flag": "fast",
}
LINE_TABLES = "enable_line_tables"
"""Line numbers for debuggers: half of the file, and full of this machine's folders. Older torch writes none."""


def compile_package(
    path: Path,
    exported: Callable[[], torch.export.ExportedProgram],
    *,
    instead: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Compile what `exported` returns, for the device that it is on, and write the package.

    `metadata` is said inside of it. Raises ExportError where there is no C++ compiler or compiling fails, naming the
    format that can be exported `instead`.
    """
    if not compiler_present():
        raise ExportError(
            f"could not export to '{path.name}': expected a C++ compiler (g++, or what CXX names), found none. "
            f"Install one, or export {instead}, which needs none."
        )
    with compiling():
        program, settings = exported(), _settings(dict(metadata or {}))
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
        except CppCompileError as error:
            raise ExportError(
                f"could not export to '{path.name}': the C++ compiler stopped:\n{error}\n"
                f"Install a complete C++ compiler, or export {instead}, which needs none."
            ) from error
    remove_traces(path, leave_out=(".cpp",), places=_places())


def load_package(path: Path | str) -> Any:
    """Return the loader of a package. Raises ExportError where this machine can't run it."""
    try:
        return torch._inductor.aoti_load_package(str(path)).loader
    except (RuntimeError, OSError) as error:
        raise ExportError(
            f"could not run '{path}': torch {torch.__version__} can't load it: {error}. "
            "Export the checkpoint again on this machine."
        ) from error


def _settings(metadata: dict[str, str]) -> dict[str, Any]:
    known = hasattr(config.aot_inductor, LINE_TABLES)
    lines = {f"aot_inductor.{LINE_TABLES}": False} if known else {}
    return SETTINGS | lines | {"aot_inductor.metadata": metadata}


def _places() -> list[str]:
    """List the folders whose names a compiler may have written into the program."""
    installed = str(Path(torch.__file__).parents[1])
    return [cache_dir(), installed, tempfile.gettempdir(), str(Path.home()), str(Path.cwd())]
