"""Train Milepost's model on Milepost's data with Lightning's Trainer: the same experiment in another loop.

    python benchmarks/resume_lightning.py OPTIONS.yaml FOLDER -r KEY=VALUE … --record FILE
        --save-steps N | --save-epochs N [--ckpt-path FILE]

As Lightning's documentation advises: everything seeded, deterministic algorithms, `ModelCheckpoint`, and to go on the
same script with `ckpt_path`. The log is written at every row. Needs Milepost's environment with Lightning in it.
"""

import argparse
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from resume_recorder import Recorder
from torch import Tensor, nn
from torch.utils.data import DataLoader

from milepost.cli.validation import read_options
from milepost.run import Prepared


class Experiment(lightning.LightningModule):
    """Hold a model and its data; batches are indices, as Milepost's are."""

    def __init__(self, prepared: Prepared, training: Any, steps: int) -> None:
        super().__init__()
        self.model: nn.Module = prepared.model
        self.prepared, self.training_options, self.steps = prepared, training, steps

    def training_step(self, batch: Tensor, position: int) -> Tensor:
        """Compute the loss that Milepost computes."""
        return self.prepared.loss(self.model, self.prepared.sets["training"].batch(batch))[0]

    def validation_step(self, batch: Tensor, position: int) -> None:
        """Evaluate the whole validation set at once, as Milepost does."""
        found = self.prepared.evaluate(self.model, self.prepared.sets["validation"])
        self.log("forces_rmse", found["forces_rmse"], on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> Any:
        """Make the optimizer of the options, and a schedule that counts steps."""
        options = self.training_options.optimizer
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Train to the end, from the start or from a checkpoint."""
    parser = argparse.ArgumentParser(description="Train with Lightning's Trainer.")
    parser.add_argument("options", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-r", dest="overrides", action="append", default=[])
    parser.add_argument("--save-steps", type=int, default=None)
    parser.add_argument("--save-epochs", type=int, default=None)
    parser.add_argument("--ckpt-path", default=None)
    parser.add_argument("--record", required=True)
    asked = parser.parse_args()
    lightning.seed_everything(0, workers=True)
    options, architecture = read_options(asked.options, tuple(asked.overrides))
    training: Any = options.architecture.training
    prepared = architecture.domain.load().prepare(
        options, architecture, folder=Path(), device=torch.device("cpu"), ancestor=None, facts=None
    )
    saver = ModelCheckpoint(
        dirpath=asked.folder,
        filename="step-{step}",
        auto_insert_metric_name=False,
        save_top_k=-1,
        every_n_train_steps=asked.save_steps,
        every_n_epochs=asked.save_epochs,
    )
    examples = len(prepared.sets["training"])
    trainer = lightning.Trainer(
        accelerator="cpu",
        deterministic=True,
        max_epochs=training.epochs,
        inference_mode=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=CSVLogger(asked.folder, flush_logs_every_n_steps=1),
        callbacks=[saver, Recorder(asked.record)],
    )
    trainer.fit(
        Experiment(prepared, training, training.epochs * -(-examples // training.batch_size)),
        DataLoader(range(examples), batch_size=training.batch_size, shuffle=True),  # type: ignore[arg-type]
        DataLoader(range(1), batch_size=1),  # type: ignore[arg-type]
        ckpt_path=asked.ckpt_path,
    )
    trainer.save_checkpoint(asked.folder / "end.ckpt")


if __name__ == "__main__":
    main()
