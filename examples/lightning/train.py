"""Train with a plain Lightning Trainer, save in Milepost's format, and go on where the last call stopped.

    python examples/lightning/train.py --folder checkpoints --epochs 4

Stop it as you like, also with `kill -9`, and call it again: it ends with the same bits. It needs `milepost[lightning]`.
"""

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from milepost.checkpoint import newest_verified
from milepost.lightning import ExactResume, MilepostCheckpointIO


class Sine(pl.LightningModule):
    """Fit a sine with a small network that draws random numbers in every step."""

    def __init__(self, width: int = 32, rate: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.05), nn.Linear(width, 1))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """Return the mean squared error of a batch."""
        inputs, targets = batch
        return nn.functional.mse_loss(self.layers(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train with Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["rate"])


def examples() -> DataLoader[Any]:
    """Return 256 points of a sine, in batches of 16, in a random order."""
    inputs = torch.linspace(-3, 3, 256)[:, None]
    return DataLoader(TensorDataset(inputs, torch.sin(inputs)), batch_size=16, shuffle=True)


def main() -> None:
    """Train to the end, from the furthest sound checkpoint where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=5, help="steps from one checkpoint to the next")
    parser.add_argument("--keep", type=int, default=1, help="how many checkpoints stay; -1: all")
    parser.add_argument("--devices", type=int, default=1, help="processes that train together")
    arguments = parser.parse_args()

    torch.manual_seed(1)
    trainer = pl.Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        devices=arguments.devices,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[MilepostCheckpointIO(durability="power")],
        callbacks=[
            ExactResume(),
            ModelCheckpoint(arguments.folder, save_top_k=arguments.keep, every_n_train_steps=arguments.every),
        ],
    )
    path, damaged = newest_verified(arguments.folder)
    for entry in damaged:
        print(f"passed over {entry.path}: {'; '.join(entry.damage)}")
    print(f"starting from {path or 'the beginning'}")
    trainer.fit(Sine(), examples(), ckpt_path=path)
    print(f"finished at step {trainer.global_step}")


if __name__ == "__main__":
    main()
