"""The root with the sections of one architecture."""

import pytest
from pydantic import Field

from milepost.errors import OptionsError
from milepost.options import (
    ArchitectureOptions,
    OptionsModel,
    RootOptions,
    TrainingOptions,
    compose_options,
    expanded_yaml,
    json_schema,
    limit_architectures,
    load_options,
)


class Model(OptionsModel):
    """A model with defaults."""

    cutoff: float = Field(default=5.0, gt=0, json_schema_extra={"unit": "Å"})


class Demanding(OptionsModel):
    cutoff: float


class Training(TrainingOptions):
    loss_weight: float = 1.0


class DomainRoot(RootOptions):
    """The options of a domain."""

    training_set: str
    test_set: float | str = 0.1


TEXT = "training_set: a.xyz\narchitecture: {name: cairn}\n"


def test_sections_of_the_architecture_are_validated() -> None:
    root = compose_options(DomainRoot, Model, Training)
    assert issubclass(root, DomainRoot)
    options = load_options("o.yaml", root, ["architecture.training.loss_weight=2"], TEXT)
    assert options.architecture.model == Model()
    assert options.architecture.training == Training(loss_weight=2.0)
    assert isinstance(options.architecture, ArchitectureOptions)
    with pytest.raises(OptionsError, match=r"architecture\.model\.cutof: unknown key; did you mean 'cutoff'\?"):
        load_options("o.yaml", root, ["architecture.model.cutof=2"], TEXT)


def test_a_section_without_defaults_must_be_given() -> None:
    root = compose_options(DomainRoot, Demanding, Training)
    with pytest.raises(OptionsError, match=r"o.yaml:2  architecture\.model: missing; expected a section \(cutoff\)"):
        load_options("o.yaml", root, text=TEXT)


def test_the_generic_root_takes_any_sections() -> None:
    options = load_options("o.yaml", DomainRoot, ["architecture.model.anything=2"], TEXT)
    assert options.architecture.model == {"anything": 2}


def test_a_name_that_is_not_registered_is_reported_with_all_else() -> None:
    root = limit_architectures(DomainRoot, ["cairn", "other"])
    with pytest.raises(OptionsError) as caught:
        load_options("o.yaml", root, ["sed=1", "architecture.name=carin"], TEXT)
    assert "architecture.name: expected 'cairn' or 'other', found 'carin'; did you mean 'cairn'?" in str(caught.value)
    assert "sed: unknown key; did you mean 'seed'?" in str(caught.value)
    composed = compose_options(root, Model, Training)
    assert load_options("o.yaml", composed, text=TEXT).architecture.name == "cairn"


def test_the_composed_options_come_back_and_keep_their_texts() -> None:
    root = compose_options(DomainRoot, Model, Training)
    options = load_options("o.yaml", root, text=TEXT)
    assert load_options("o.yaml", root, text=expanded_yaml(options)) == options
    schema = json_schema(root)
    assert schema["description"] == "The options of a domain."
    assert schema["title"] == "DomainRoot"
    assert schema["$defs"]["Model"]["properties"]["cutoff"]["description"] == "[Å]"
