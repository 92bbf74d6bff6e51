"""The architecture `resnet18`: residual blocks for images of 32 × 32. Importing this imports no torch."""

from milepost.images.options import ClassifierTrainingOptions, ImagesOptions
from milepost.images.resnet18.options import ResNet18ModelOptions
from milepost.images.resnet18.upgrades import UPGRADES, VERSION
from milepost.model import Architecture, Component

ARCHITECTURE = Architecture(
    name="resnet18",
    version=VERSION,
    summary="classifier of small photographs: a residual network of 18 layers",
    root_options=ImagesOptions,
    domain=Component("milepost.images.domain", "DOMAIN"),
    build=Component("milepost.images.resnet18.model", "build"),
    model_options=ResNet18ModelOptions,
    training_options=ClassifierTrainingOptions,
    upgrades=UPGRADES,
)

__all__ = ["ARCHITECTURE"]
