"""The class that every section of the options derives from."""

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

JSON = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
"""What YAML describes once it is read: the values that JSON knows, plus infinities and NaN."""

_WORDS = {"bool", "int", "float", "str"}
_NOT_SCHEMAS = {"cls", "config", "default", "expected", "keys_schema", "metadata", "serialization"}


class OptionsModel(BaseModel):
    """Declare one section of the options.

    Unknown keys are refused; text is no number, 1 is not true, but an integer is a number; infinities and NaN
    are refused; attributes can't be assigned. Lists should be declared as tuples, so that they can't change
    either. Texts become paths and members of enumerations where these are declared.

    A field's ``description`` and bounds go to the JSON schema, to the comments of the expanded options and to
    the report of mistakes. Two further keys of ``json_schema_extra`` serve the report: ``unit`` ("Å") and
    ``expected``, a phrase that replaces the derived one where a pattern would not be readable. A rule between
    fields is a pydantic ``model_validator`` that raises ValueError; its text is shown at the section's line.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        protected_namespaces=(),
        # A class that is declared but not read costs no time at import.
        defer_build=True,
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build the validator, as pydantic asks, but convert no word to another kind."""
        schema = handler(source)
        _take_words_as_they_are(schema)
        return schema


def _take_words_as_they_are(node: Any) -> None:
    """Forbid conversion in every schema of a word below this one."""
    # pydantic's own strict mode would also refuse lists for tuples and texts for paths, and YAML has neither
    # tuples nor paths. Keys are always text in YAML, so that they must be converted.
    if isinstance(node, dict):
        node = cast(dict[str, Any], node)
        kind = node.get("type")
        # Other dictionaries hold fields or choices by name, and any name is possible, "type" included.
        is_schema = isinstance(kind, str)
        if is_schema and kind in _WORDS:
            node["strict"] = True
        for key, inner in node.items():
            if not (is_schema and key in _NOT_SCHEMAS):
                _take_words_as_they_are(inner)
    elif isinstance(node, (list, tuple)):
        for inner in cast(list[Any], node):
            _take_words_as_they_are(inner)


def plain_data(options: OptionsModel) -> dict[str, Any]:
    """Return every value of the options, defaults included, as JSON data with the keys of the file."""
    return options.model_dump(mode="json", by_alias=True)
