"""Compile a potential ahead of time into a `.pt2` package, and run such a package.

The whole computation, derivative included, is first written out as one flat list of tensor operations with
symbolic sizes (`make_fx`); that list is exported and compiled by AOTInductor. Numbers of atoms and slots are
free from 2 up.

What compiling needs and promises is in `milepost.export.compiling`.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from milepost.atoms.exporting_graph import AtomicGraph, Program, Results
from milepost.atoms.exporting_products import FUSED
from milepost.atoms.potential import Potential
from milepost.errors import ExportError
from milepost.export.compiling import compile_package, load_package

# Sizes to trace with: larger than 1 and equal to no other size in a potential, so that nothing takes them for
# constants.
TRACED_ATOMS, TRACED_SLOTS = 13, 17

TABLES = {"milepost_tables": "by column"}
"""Said inside a package: how it takes neighbors and reverse. Earlier packages took rows and say nothing."""


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
    compile_package(path, lambda: _exported_program(potential), metadata=TABLES, instead="a .pt file")


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
    loader = load_package(path)
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
