"""Options of the architecture `mlp`; needs no torch."""

from typing import Annotated

from pydantic import Field

from milepost.options import OptionsModel


class MLPModelOptions(OptionsModel):
    """The network."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(100, 100), description="Units of each hidden layer, from the input on."
    )
