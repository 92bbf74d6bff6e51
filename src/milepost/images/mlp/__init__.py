"""The architecture `mlp`: layers that see all of an image at once. Importing this imports no torch."""

from milepost.images.mlp.options import MLPModelOptions
from milepost.images.mlp.upgrades import UPGRADES, VERSION
from milepost.images.options import ClassifierTrainingOptions, ImagesOptions
from milepost.model import Architecture, Component

ARCHITECTURE = Architecture(
    name="mlp",
    version=VERSION,
    summary="classifier of small images: fully connected layers with ReLU",
    root_options=ImagesOptions,
    domain=Component("milepost.images.domain", "DOMAIN"),
    build=Component("milepost.images.mlp.model", "build"),
    model_options=MLPModelOptions,
    training_options=ClassifierTrainingOptions,
    upgrades=UPGRADES,
)

__all__ = ["ARCHITECTURE"]
