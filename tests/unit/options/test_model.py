"""What any section may rely on, whatever its keys are called."""

from typing import Any

import pytest
from pydantic import Field, ValidationError

from milepost.options import OptionsModel

AWKWARD = (
    "type",
    "default",
    "config",
    "cls",
    "expected",
    "metadata",
    "keys_schema",
    "schema_",
    "fields",
    "model_name",
)


def section(**fields: Any) -> type[OptionsModel]:
    return type("Section", (OptionsModel,), {"__annotations__": dict.fromkeys(fields, int), **fields})


@pytest.mark.parametrize("name", AWKWARD)
def test_no_name_of_a_key_loosens_its_check(name) -> None:
    model = section(**{name: 1})
    assert getattr(model(), name) == 1
    for wrong in ("2", 2.0, True):
        with pytest.raises(ValidationError, match=name):
            model(**{name: wrong})


def test_defaults_that_look_like_schemas_are_left_alone() -> None:
    class Section(OptionsModel):
        value: dict[str, Any] = Field(default={"type": "int"})

    assert Section().value == {"type": "int"}


def test_keys_of_tables_are_text_in_the_file_and_converted() -> None:
    class Section(OptionsModel):
        table: dict[int, float]

    assert Section.model_validate({"table": {"1": 2}}).table == {1: 2.0}
    with pytest.raises(ValidationError, match="table"):
        Section.model_validate({"table": {"1": "2"}})
