"""Read options: file and overrides in, one validated object or one report of every mistake out."""

import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import ValidationError

from milepost.options.checking import Check, apply_checks
from milepost.options.completion import complete_sections
from milepost.options.draft import DocumentError, Draft, leaves, replace_value, value_at
from milepost.options.expectation import did_you_mean, expected, found
from milepost.options.explain import explain
from milepost.options.interpolation import resolve_interpolations
from milepost.options.mistakes import Origin, Origins, report
from milepost.options.model import JSON, OptionsModel
from milepost.options.overrides import apply_overrides
from milepost.options.scalars import SWITCHES, Placeholder, Switch
from milepost.options.schema import Schema

M = TypeVar("M", bound=OptionsModel)
LARGEST_FILE = 4 * 2**20


def load_options(
    path: str | os.PathLike[str] | None,
    model: type[M],
    overrides: Sequence[str] = (),
    text: str | None = None,
    *,
    checks: Sequence[Check] = (),
) -> M:
    """Return the options that a YAML file and overrides (``key.sub=value``) describe.

    ``text`` is read instead of the file when given, which then only lends its name; with neither, the
    overrides stand alone. OptionsError lists every mistake with its place. ``checks`` compare the options with
    the world and report alike; they see defaults in place of what is wrong.
    """
    draft = _draft(path, overrides, text)
    options = _validated(draft, model) if draft.readable else None
    if draft.readable and checks:
        apply_checks(draft, model, options, checks)
    if options is None or draft.mistakes:
        raise report(draft.name, draft.mistakes)
    return options


def find_value(
    path: str | os.PathLike[str] | None,
    key: str,
    overrides: Sequence[str] = (),
    text: str | None = None,
) -> JSON:
    """Return one value, by its dotted key, before anything is validated; None where it is not given.

    For choosing the model that validates the whole, as the name of the architecture does. OptionsError when
    the file can't be read at all.
    """
    draft = _draft(path, overrides, text)
    if not draft.readable:
        raise report(draft.name, draft.mistakes)
    try:
        return value_at(draft.data, key.split("."))
    except LookupError:
        return None


def _draft(path: str | os.PathLike[str] | None, overrides: Sequence[str], text: str | None) -> Draft:
    name = "options" if path is None else os.fspath(path)
    draft = Draft(name, {}, Origins(Origin(0, 0, name)))
    try:
        if text is None and path is not None:
            text = _file_text(FilePath(path))
        if text is not None:
            draft.data = _mapping(text, draft)
    except DocumentError as error:
        draft.readable = False
        draft.refuse(Origin(0, error.line, name), str(error))
    apply_overrides(draft, overrides)
    if draft.readable:
        resolve_interpolations(draft)
    return draft


def _mapping(text: str, draft: Draft) -> dict[str, JSON]:
    # Imported here because PyYAML takes 40 ms that declaring options needs not.
    from milepost.options.document import read_yaml

    data = read_yaml(text.removeprefix("\ufeff"), draft, lambda line: Origin(0, line, draft.name))
    if data is None:
        raise DocumentError(0, "expected lines of 'key: value', found none")
    if not isinstance(data, dict):
        raise DocumentError(0, f"expected lines of 'key: value', found {found(data)}")
    return data


def _file_text(path: FilePath) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise DocumentError(0, f"expected a file of at most {LARGEST_FILE // 2**20} MiB, found a larger one")
        return data.decode()
    except FileNotFoundError:
        names = [entry.name for entry in path.parent.glob("*.y*ml")]
        raise DocumentError(0, f"expected a file, found nothing{did_you_mean(path.name, names)}") from None
    except IsADirectoryError:
        raise DocumentError(0, "expected a file, found a directory") from None
    except OSError as error:
        raise DocumentError(0, f"expected a file that can be read, found: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DocumentError(line, f"expected UTF-8 text, found the byte 0x{error.object[error.start]:02x}") from None


def _validated(draft: Draft, model: type[M]) -> M | None:
    schema = Schema.of(model)
    for path, value in list(leaves(draft.data)):
        if isinstance(value, Switch):
            meaning = SWITCHES[value.lower()]
            replace_value(draft.data, path, meaning if schema.at(path).admits(meaning) else str(value))
        elif isinstance(value, Placeholder):
            draft.give_up(path, f"expected {expected(schema.at(path))}, found ???")
    complete_sections(draft.data, model)
    try:
        return model.model_validate(draft.data)
    except ValidationError as error:
        explain(draft, error, schema)
        return None
