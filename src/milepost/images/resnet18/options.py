"""Options of the architecture `resnet18`; needs no torch."""

from pydantic import Field

from milepost.options import OptionsModel


class ResNet18ModelOptions(OptionsModel):
    """The network."""

    filters: int = Field(
        default=64, ge=1, description="Channels of the first layer; each of the three later stages doubles them."
    )
