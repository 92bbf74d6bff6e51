"""Run the command `milepost` and record the examples of every training step.

    python benchmarks/resume_milepost.py RECORD train OPTIONS.yaml …

What is wrapped is the one place where a training batch is cut out of the data; the command itself is untouched. Every
batch appends one JSON line to RECORD.
"""

import json
import sys
from pathlib import Path

from torch import Tensor

from milepost.atoms.domain import StructureSet
from milepost.cli import main


def record(path: Path) -> None:
    """Wrap `StructureSet.batch`."""
    cut = StructureSet.batch

    def batch(self: StructureSet, indices: Tensor) -> dict[str, Tensor]:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"examples": indices.tolist()}) + "\n")
        return cut(self, indices)

    StructureSet.batch = batch  # type: ignore[method-assign]


if __name__ == "__main__":
    record(Path(sys.argv.pop(1)))
    main()
