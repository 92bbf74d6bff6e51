"""Note the time and the validation errors of a NequIP training, epoch by epoch.

Loaded by NequIP's own interpreter, from `nequip/model.yaml`; needs `lightning`, nothing of Milepost. Every
validation appends one JSON line to `path`: seconds since training began, epochs completed, and the metrics
NequIP logged.
"""

import json
import time
from pathlib import Path

import lightning


class Clock(lightning.Callback):
    """Append `{"seconds": …, "epochs": …, "metrics": {…}}` to a file after every validation."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.start = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock: reading the data and building the model are not charged to the peer."""
        self.start = time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Append one line; runs after NequIP has logged the epoch's metrics."""
        row = {
            "seconds": time.perf_counter() - self.start,
            "epochs": trainer.current_epoch + 1,
            "steps": trainer.global_step,
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
