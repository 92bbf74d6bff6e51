"""Options of the architecture `timm`; needs neither torch nor timm."""

from typing import Any

from pydantic import Field, model_validator

from milepost.options import OptionsModel

GIVEN = {"num_classes": "the classes of the tasks", "in_chans": "the images", "pretrained": "nothing is downloaded"}
"""Arguments of timm that are not the user's to give, and what decides them."""


class TimmModelOptions(OptionsModel):
    """The network."""

    name: str = Field(
        default="resnet18", min_length=1, description="Name of the network; timm.list_models() lists them."
    )
    arguments: dict[str, Any] = Field(
        default={}, description="Further arguments of the network, such as img_size for a vision transformer."
    )

    @model_validator(mode="after")
    def _no_second_place(self) -> "TimmModelOptions":
        for argument, why in GIVEN.items():
            if argument in self.arguments:
                raise ValueError(f"arguments must not contain {argument!r}: {why}")
        return self
