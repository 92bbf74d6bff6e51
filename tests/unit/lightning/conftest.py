"""A tiny LightningModule with everything that draws random numbers, and Trainers that are quiet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from milepost.lightning import ExactResume, MilepostCheckpointIO

# What Lightning says about runs as small as these, and a deprecated class of torch that it uses.
_SAID_BY_LIGHTNING = (
    "ignore:.*does not have many workers",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:The number of training batches .* is smaller than the logging interval",
    "ignore:.*isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",
    "ignore:Detected call of `lr_scheduler.step",
    "ignore:.*GPU available but not used",
    "ignore:The dirpath has changed from",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Lightning's own warnings pass in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for text in _SAID_BY_LIGHTNING:
                item.add_marker(pytest.mark.filterwarnings(text))


class Tiny(pl.LightningModule):
    """Fit a line with dropout and batch normalization, so that every draw of a generator counts."""

    def __init__(self, width: int = 4, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 1))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.layers(inputs), targets)

    def validation_step(self, batch: Any, index: int) -> None:
        inputs, targets = batch
        self.log("val_loss", nn.functional.mse_loss(self.layers(inputs), targets))

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["rate"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], gamma=0.5),
        }


def loader(shuffle: bool = True, **arguments: Any) -> DataLoader[Any]:
    """Serve twenty examples, five batches of four."""
    numbers = torch.arange(60, dtype=torch.float32).reshape(20, 3) / 60
    data = TensorDataset(numbers, numbers.sum(1, keepdim=True))
    return DataLoader(data, batch_size=4, shuffle=shuffle, **arguments)


def trainer(
    folder: Path, epochs: int = 4, plugin: Any = None, callbacks: tuple[Any, ...] | None = None, **arguments: Any
) -> pl.Trainer:
    """Build a Trainer that saves with our plug-in below `folder`."""
    if callbacks is None:
        keep_all = ModelCheckpoint(dirpath=folder, filename="{epoch}-{step}", save_top_k=-1)
        callbacks = (ExactResume(), keep_all)
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "max_epochs": epochs,
    }
    plugin = plugin or MilepostCheckpointIO(durability="process")
    return pl.Trainer(plugins=[plugin], callbacks=list(callbacks), **(settings | arguments))


@pytest.fixture
def tiny() -> type[Tiny]:
    """Give the class of the module."""
    return Tiny


@pytest.fixture
def make_loader() -> Callable[..., DataLoader[Any]]:
    """Give the maker of loaders."""
    return loader


@pytest.fixture
def make_trainer() -> Callable[..., pl.Trainer]:
    """Give the maker of Trainers."""
    return trainer
