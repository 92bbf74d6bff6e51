"""Complete the generic root with the sections of one architecture."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, create_model

from milepost.options.model import OptionsModel
from milepost.options.sections import RootOptions

R = TypeVar("R", bound=RootOptions)


def compose_options(root: type[R], model: type[OptionsModel], training: type[OptionsModel]) -> type[R]:
    """Return ``root`` with ``architecture.model`` and ``architecture.training`` of these classes.

    Either section may be left out of the file if all its keys have defaults.
    """
    return cast(type[R], _composed(root, model, training))


@functools.cache  # one class for one choice: what pydantic makes of a class is made once
def _composed(root: type[RootOptions], model: type[OptionsModel], training: type[OptionsModel]) -> type[RootOptions]:
    sections = {"model": model, "training": training}
    return _with_architecture(root, **{name: _section(root, name, section) for name, section in sections.items()})


def with_learner(root: type[R], learner: type[OptionsModel]) -> type[R]:
    """Return ``root`` with a section ``learner`` of this class; it may be left out if all its keys have defaults."""
    return cast(type[R], _learning(root, learner))


@functools.cache
def _learning(root: type[RootOptions], learner: type[OptionsModel]) -> type[RootOptions]:
    before = root.model_fields["learner"]
    extra: Any = before.json_schema_extra
    field = (learner, Field(default_factory=learner, description=before.description, json_schema_extra=extra))
    return create_model(root.__name__, __base__=root, __doc__=root.__doc__, learner=field)


def limit_architectures(root: type[R], names: Sequence[str]) -> type[R]:
    """Return ``root`` with an ``architecture.name`` that must be one of these; any other is a mistake."""
    field = _architecture(root).model_fields["name"]
    return _with_architecture(root, name=(Literal[tuple(names)], Field(description=field.description)))


def limit_learners(root: type[R], names: Sequence[str]) -> type[R]:
    """Return ``root`` with a ``learner.name`` that must be one of these; any other is a mistake."""
    before = cast(type[OptionsModel], root.model_fields["learner"].annotation)
    field = Field(default="finetune", description=before.model_fields["name"].description)
    name: dict[str, Any] = {"name": (Literal[tuple(names)], field)}
    return with_learner(root, create_model(before.__name__, __base__=before, __doc__=before.__doc__, **name))


def _architecture(root: type[RootOptions]) -> type[OptionsModel]:
    return cast(type[OptionsModel], root.model_fields["architecture"].annotation)


def _section(root: type[RootOptions], name: str, section: type[OptionsModel]) -> tuple[Any, Any]:
    description = _architecture(root).model_fields[name].description
    if any(field.is_required() for field in section.model_fields.values()):
        return section, Field(description=description)
    return section, Field(default_factory=section, description=description)


def _with_architecture(root: type[R], **fields: tuple[Any, Any]) -> type[R]:
    before = _architecture(root)
    architecture = create_model(before.__name__, __base__=before, __doc__=before.__doc__, **cast(Any, fields))
    field = (architecture, Field(description=root.model_fields["architecture"].description))
    return create_model(root.__name__, __base__=root, __doc__=root.__doc__, architecture=field)
