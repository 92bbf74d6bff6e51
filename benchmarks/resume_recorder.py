"""Record the examples of every training step of a Lightning Trainer.

Loaded by the interpreter that trains: by NequIP's, from `nequip/resume.yaml`, and by ours, from `resume_lightning.py`.
Needs `lightning`, nothing of Milepost. Every step appends one JSON line to `path` before it is taken: the epoch that
the Trainer counts, and the examples. A batch of indices names its examples; one of NequIP is told by its energies, of
which no two are equal in the data set.
"""

import json
from pathlib import Path
from typing import Any

import lightning
from torch import Tensor


class Recorder(lightning.Callback):
    """Append `{"epoch": …, "examples": […]}` to a file for every batch."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Append one line."""
        examples = batch if isinstance(batch, Tensor) else batch["total_energy"]
        row = {"epoch": trainer.current_epoch, "examples": examples.flatten().tolist()}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
