"""A model with one option of every kind, and the two ways to read it."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

from milepost.errors import OptionsError
from milepost.options import OptionsModel, load_options

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Source(OptionsModel):
    """Where examples come from."""

    read_from: Path = Field(description="File that is read.")
    key: str = "energy"
    weight: float = Field(default=1.0, gt=0, description="Weight in the loss.", json_schema_extra={"unit": "kg"})


class Span(OptionsModel):
    start: int = 0
    stop: int = 10

    @model_validator(mode="after")
    def _in_order(self) -> "Span":
        if self.stop < self.start:
            raise ValueError(f"expected stop ≥ start = {self.start}, found {self.stop}")
        return self


class Kitchen(OptionsModel):
    """One option of every kind."""

    count: int = Field(default=1, ge=1, description="Number of things. Not shown in comments.")
    radius: float = Field(default=5.0, gt=0, description="Reach", json_schema_extra={"unit": "Å"})
    name: str = "a"
    switch: bool = False
    mode: Literal["min", "max"] = "min"
    colour: Colour = Colour.RED
    part: Fraction | Path | tuple[int, ...] | None = None
    sources: tuple[Source, ...] = ()
    source: Source | None = None
    data: Source | tuple[Source, ...] | Fraction | None = None
    flexible: bool | Path | Span = False
    span: Span = Field(default_factory=Span)
    pair: tuple[int, int] = (1, 2)
    table: dict[str, float] = Field(default={})
    numbered: dict[int, float] = Field(default={})
    anything: dict[str, Any] = Field(default={})


@pytest.fixture
def kitchen() -> type[Kitchen]:
    return Kitchen


@pytest.fixture
def read() -> Callable[..., Any]:
    """Read a text and overrides as options."""

    def reader(text: str, *overrides: str, model: type[OptionsModel] = Kitchen) -> Any:
        return load_options("o.yaml", model, overrides, text)

    return reader


@pytest.fixture
def mistakes(read: Callable[..., Any]) -> Callable[..., list[str]]:
    """Read a text and overrides that are wrong, and return the report's lines with single spaces."""

    def reader(text: str, *overrides: str, model: type[OptionsModel] = Kitchen) -> list[str]:
        with pytest.raises(OptionsError) as caught:
            read(text, *overrides, model=model)
        head, *lines, foot = str(caught.value).splitlines()
        assert head.startswith(f"o.yaml can't be used: {len(lines)} mistake")
        assert foot.startswith("Correct ")
        return [" ".join(line.split()) for line in lines]

    return reader
