"""Milepost's checkpoints for a plain Lightning Trainer: durable, in the background, with the random state.

Promise: `Trainer(plugins=[MilepostCheckpointIO()], callbacks=[ExactResume()])` saves archives as Milepost does, and
resumes from them. Both are built from plain keyword arguments, so that a configuration file can name them.
Needs: `lightning` or `pytorch_lightning` (`pip install 'milepost[lightning]'`); whichever is imported is used.
"""

from milepost.lightning.checkpoint_io import MilepostCheckpointIO
from milepost.lightning.modules import load_module
from milepost.lightning.resuming import ExactResume
from milepost.lightning.trainer import ResumingTrainer

__all__ = ["ExactResume", "MilepostCheckpointIO", "ResumingTrainer", "load_module"]
