"""The architecture `cairn`: Cartesian message passing up to rank 2. Importing this imports no torch."""

from milepost.atoms.cairn.options import CairnModelOptions, CairnTrainingOptions
from milepost.atoms.cairn.upgrades import UPGRADES, VERSION
from milepost.atoms.options import AtomsOptions
from milepost.model import Architecture, Component

ARCHITECTURE = Architecture(
    name="cairn",
    version=VERSION,
    summary="E(3)-equivariant message passing with Cartesian tensors up to rank 2",
    root_options=AtomsOptions,
    domain=Component("milepost.atoms.domain", "DOMAIN"),
    build=Component("milepost.atoms.cairn.model", "build"),
    model_options=CairnModelOptions,
    training_options=CairnTrainingOptions,
    upgrades=UPGRADES,
)

__all__ = ["ARCHITECTURE"]
