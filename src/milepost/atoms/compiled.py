"""Compile a potential ahead of time into a `.pt2` package, and run such a package.

The whole computation, derivative included, is first written out as one flat list of tensor operations with
symbolic sizes (`make_fx`); that list is exported and compiled by AOTInductor. Numbers of atoms and slots are
free from 2 up.

Needs a C++ compiler to export, none to run. A package runs on the kind of device that it was compiled for. It holds no
source, and names no folder of the machine that compiled it.
"""

import gc
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._inductor import config
from torch._inductor.exc import CppCompileError
from torch._inductor.runtime.cache_dir_utils import cache_dir
from torch.fx.experimental.proxy_tensor import make_fx

from milepost.atoms.exporting_graph import AtomicGraph, Program, Results
from milepost.atoms.exporting_products import FUSED
from milepost.atoms.potential import Potential
from milepost.errors import ExportError
from milepost.export import remove_traces
from milepost.run.step import compiler_present

# Sizes to trace with: larger than 1 and equal to no other size in a potential, so that nothing takes them for
# constants.
TRACED_ATOMS, TRACED_SLOTS = 13, 17

TABLES = {"milepost_tables": "by column"}
"""Said inside a package: how it takes neighbors and reverse. Earlier packages took rows and say nothing."""

SETTINGS: dict[str, Any] = {
    # Nearly all of the compiler's time goes into headers; for one file it is cheaper not to precompile them
    # first.
    "aot_inductor.precompile_headers": False,
    # As many threads as the process that runs the package allows, not as the one that compiled it.
    "cpp.dynamic_threads": True,
    # A product and the sum that it goes into are one instruction, rounded once.
    "cpp.enable_floating_point_contract_flag": "fast",
    "aot_inductor.metadata": TABLES,
}
LINE_TABLES = "enable_line_tables"
"""Line numbers for debuggers: half of the file, and full of this machine's folders. Older torch writes none."""


class ByColumns(nn.Module):
    """Compute what `AtomicGraph` does from tables of pairs that are [slots, atoms].

    Sums over the mirror slots look their terms up by these tables. Were the slots of an atom next to each other in
    memory, the compiler would take eight or sixteen of them at once, which then lie apart, one by one; now it takes
    the features of one, which lie together: four tenths of the time of a small molecule.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.graph = AtomicGraph(potential)

    def forward(
        self, positions: Tensor, neighbors: Tensor, reverse: Tensor, offsets: Tensor, species: Tensor
    ) -> Results:
        """Compute `Results`; shapes as in `Program` but for neighbors and reverse [slots, atoms]."""
        return self.graph(positions, neighbors.t(), reverse.t(), offsets, species)


def compile_potential(potential: Potential, path: Path) -> None:
    """Write the package of a potential, for the kind of device that it is on.

    Raises ExportError where there is no C++ compiler or compiling fails.
    """
    if not compiler_present():
        raise ExportError(
            f"could not export to '{path.name}': expected a C++ compiler (g++ or clang++), found none. "
            "Install one, or export a .pt file, which needs none."
        )
    with _garbage_left(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own internals
        program = _exported_program(potential)
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=_settings())
        except CppCompileError as error:
            raise ExportError(
                f"could not export to '{path.name}': the C++ compiler stopped:\n{error}\n"
                "Install a complete C++ compiler, or export a .pt file, which needs none."
            ) from error
    remove_traces(path, leave_out=(".cpp",), places=_places())


def _settings() -> dict[str, Any]:
    known = hasattr(config.aot_inductor, LINE_TABLES)
    return SETTINGS | ({f"aot_inductor.{LINE_TABLES}": False} if known else {})


def _places() -> list[str]:
    """List the folders whose names a compiler may have written into the program."""
    installed = str(Path(torch.__file__).parents[1])
    return [cache_dir(), installed, tempfile.gettempdir(), str(Path.home()), str(Path.cwd())]


def _exported_program(potential: Potential) -> torch.export.ExportedProgram:
    """Write the computation out, derivative included, with free numbers of atoms and slots."""
    inputs = _example(potential.references.device)
    table = dict(FUSED) if inputs[0].device.type == "cpu" else None
    trace = make_fx(ByColumns(potential), table, "symbolic", _allow_non_fake_inputs=True)
    graph = trace(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    atoms, slots = torch.export.Dim("atoms", min=2), torch.export.Dim("slots", min=2)
    shapes = ({0: atoms}, {0: slots, 1: atoms}, {0: slots, 1: atoms}, {0: atoms, 1: slots}, {0: atoms})
    return torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Collect no garbage meanwhile: of a compiler's many live objects that takes a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _example(device: torch.device) -> tuple[Tensor, ...]:
    """Make inputs to trace with: their values are never looked at, but no vector may have length zero."""
    atoms, slots = TRACED_ATOMS, TRACED_SLOTS
    offsets = torch.zeros(atoms, slots, 3, dtype=torch.float64)
    offsets[..., 0] = 1.0
    inputs = (
        torch.zeros(atoms, 3, dtype=torch.float64),
        torch.arange(atoms).repeat(slots, 1),
        torch.arange(slots).unsqueeze(1).repeat(1, atoms),
        offsets,
        torch.zeros(atoms, dtype=torch.long),
    )
    return tuple(x.to(device) for x in inputs)


def load_compiled(path: Path | str) -> Program:
    """Load a package. Raises ExportError where this machine can't run it, or an unreleased version wrote it."""
    try:
        loader = torch._inductor.aoti_load_package(str(path)).loader
    except (RuntimeError, OSError) as error:
        raise ExportError(
            f"could not run '{path}': torch {torch.__version__} can't load it: {error}. "
            "Export the checkpoint again on this machine."
        ) from error
    found: dict[str, str] = loader.get_metadata()
    if any(found.get(key) != value for key, value in TABLES.items()):
        raise ExportError(
            f"could not run '{path}': expected a package that takes tables of pairs by column, found one by row, "
            "of a Milepost before its first release. Export the checkpoint again."
        )

    def run(positions: Tensor, neighbors: Tensor, reverse: Tensor, offsets: Tensor, species: Tensor) -> Results:
        tables = (neighbors.t().contiguous(), reverse.t().contiguous())
        # torch's own call reads the JSON of its signature anew each time: a tenth of a small molecule's time.
        with torch.inference_mode():
            return cast(Results, tuple(loader.boxed_run([positions, *tables, offsets, species])))

    return run
