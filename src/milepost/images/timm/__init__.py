"""The architecture `timm`: any network of the package timm, by its name there. Importing this imports no torch."""

from milepost.images.options import ClassifierTrainingOptions, ImagesOptions
from milepost.images.timm.options import TimmModelOptions
from milepost.images.timm.upgrades import UPGRADES, VERSION
from milepost.model import Architecture, Component

ARCHITECTURE = Architecture(
    name="timm",
    version=VERSION,
    summary="classifier by its name in the package timm (extra `timm`)",
    root_options=ImagesOptions,
    domain=Component("milepost.images.domain", "DOMAIN"),
    build=Component("milepost.images.timm.model", "build"),
    model_options=TimmModelOptions,
    training_options=ClassifierTrainingOptions,
    upgrades=UPGRADES,
)

__all__ = ["ARCHITECTURE"]
