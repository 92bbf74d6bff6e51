"""The JSON schema for editors, and unions that a key tells apart."""

import json
from typing import Annotated, Literal

from pydantic import Field

from milepost.options import OptionsModel, json_schema


class Ball(OptionsModel):
    shape: Literal["ball"]
    radius: float = Field(gt=0, json_schema_extra={"unit": "Å"})


class Cube(OptionsModel):
    shape: Literal["cube"]
    edge: float


class World(OptionsModel):
    """A world."""

    body: Annotated[Ball | Cube, Field(discriminator="shape")]
    bodies: tuple[Ball | Cube, ...] = ()
    perhaps: Annotated[Ball | Cube, Field(discriminator="shape")] | None = None


def test_the_schema_is_json_with_dialect_units_and_no_further_keys(kitchen) -> None:
    schema = json.loads(json.dumps(json_schema(kitchen)))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    radius = schema["properties"]["radius"]
    assert radius["description"] == "Reach [Å]"
    assert radius["exclusiveMinimum"] == 0
    assert radius["default"] == 5.0


def test_a_section_that_may_be_a_text_is_one_in_the_schema_too() -> None:
    class Home(OptionsModel):
        ball: Ball = Field(json_schema_extra={"short_form": "shape"})
        either: Ball | Cube = Field(json_schema_extra={"short_form": "shape"})

    properties = json_schema(Home)["properties"]
    assert properties["ball"]["anyOf"] == [{"$ref": "#/$defs/Ball"}, {"type": "string"}]
    assert properties["either"]["anyOf"][2:] == [{"type": "string"}]


def test_kinds_of_sections_told_apart_by_a_key(read, mistakes) -> None:
    assert read("body: {shape: ball, radius: 1}", model=World).body == Ball(shape="ball", radius=1.0)
    assert mistakes("body:\n  shape: ball\n  radius: -1\n  edge: 2\n", model=World) == [
        "o.yaml:3 body.radius: expected a number > 0 [Å], found -1",
        "o.yaml:4 body.edge: unknown key; did you mean 'perhaps.edge'?",
    ]
    assert mistakes("body:\n  shape: bal\n", model=World) == [
        "o.yaml:2 body.shape: expected 'ball' or 'cube', found 'bal'; did you mean 'ball'?"
    ]
    assert mistakes("body: {shape: cube, edge: 1}\nperhaps: {shape: cub, edge: 1}", model=World) == [
        "o.yaml:2 perhaps.shape: expected 'ball' or 'cube', found 'cub'; did you mean 'cube'?"
    ]
    assert mistakes("body:\n  radius: 1\n", model=World) == ["o.yaml:1 body.shape: missing; expected 'ball' or 'cube'"]


def test_kinds_of_sections_that_only_their_keys_tell_apart(mistakes) -> None:
    text = "body: {shape: ball, radius: 1}\nbodies:\n  - {shape: cube, edge: x}\n"
    assert mistakes(text, model=World) == ["o.yaml:3 bodies.0.edge: expected a number, found 'x'"]
