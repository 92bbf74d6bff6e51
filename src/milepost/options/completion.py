"""Sections that a file gives in part: the rest comes from the section's default, not from its class."""

from inspect import isclass
from typing import Any

from pydantic.fields import FieldInfo

from milepost.options.model import JSON, OptionsModel, plain_data


def complete_sections(data: dict[str, JSON], model: type[OptionsModel], default: OptionsModel | None = None) -> None:
    """Add to every section what its default sets and the file leaves out, as the expanded options show it.

    An architecture may give a section another default than its class has; who changes one key keeps the
    other values. Where another ``name`` is chosen (another optimizer, say), they make no sense any more: the
    class's own defaults apply.
    """
    usual = getattr(default, "name", None)
    if data.get("name", usual) != usual:
        default = None
    for name, field in model.model_fields.items():
        inner_default = _default(field) if default is None else getattr(default, name)
        given = data.get(field.alias or name)
        if isinstance(given, dict):
            inner_model = type(inner_default) if isinstance(inner_default, OptionsModel) else field.annotation
            if isclass(inner_model) and issubclass(inner_model, OptionsModel):
                own = inner_default if isinstance(inner_default, OptionsModel) else None
                complete_sections(given, inner_model, own)
    if default is not None:
        values = plain_data(default)
        for name in default.model_fields_set:
            key = model.model_fields[name].alias or name
            data.setdefault(key, values[key])


def _default(field: FieldInfo) -> Any:
    if field.default_factory_takes_validated_data:
        return None
    return field.get_default(call_default_factory=True)
