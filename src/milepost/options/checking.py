"""Compare options with the world: with the files, libraries and devices that are there.

Promise: a mistake in one option hides none in another. What is known to be wrong is left out, so that its default
stands in, and nothing is said of options that were judged by it. Where the rest makes no options (something that
has no default is wrong), nothing is compared.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from milepost.options.completion import complete_sections
from milepost.options.draft import Draft, value_at
from milepost.options.explain import explain
from milepost.options.mistakes import Path
from milepost.options.model import JSON, OptionsModel
from milepost.options.schema import Schema

M = TypeVar("M", bound=OptionsModel)

MOST_ROUNDS = 8
"""Times that options are left out: leaving one out can break the section around it, and so on up to the root."""


class Objection(NamedTuple):
    """What a check has against an option: its dotted key, the text of the mistake, what else it was judged by."""

    key: str
    text: str
    judged_by: tuple[str, ...] = ()


Check = Callable[[Any], Iterable[Objection]]
"""A test of valid options against the world."""


def apply_checks(draft: Draft, model: type[M], options: M | None, checks: Sequence[Check]) -> None:
    """Add what the checks object to; ``options`` are those of the draft, None where they are not valid."""
    if any(not mistake.key for mistake in draft.mistakes):
        return
    wrong = list(draft.blamed)
    sound = options if options is not None else _rest(draft, model, wrong)
    if sound is None:
        return
    for check in checks:
        for objection in check(sound):
            judged = [_known_path(draft.data, key) for key in (objection.key, *objection.judged_by)]
            if not any(_doubtful(path, wrong, draft.data) for path in judged):
                draft.blame(judged[0], objection.text)


def _rest(draft: Draft, model: type[M], wrong: list[Path]) -> M | None:
    """Return the options without what is wrong, and add to it what had to be left out besides."""
    schema = Schema.of(model)
    data = copy.deepcopy(draft.data)
    for _ in range(MOST_ROUNDS):
        for path in wrong:
            _leave_out(data, path)
        complete_sections(data, model)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            found = Draft(draft.name, data, draft.origins)
            explain(found, error, schema)
        further = [_next_around(path, wrong) for path in found.blamed]
        if () in further:
            return None
        wrong += further
    return None


def _next_around(path: Path, wrong: Sequence[Path]) -> Path:
    """Return the path, or of what it lies in the nearest that was not left out yet."""
    while path and path in wrong:
        path = path[:-1]
    return path


def _leave_out(data: dict[str, JSON], path: Path) -> None:
    """Remove a value, or the whole list that holds it: the other items would take other places."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    try:
        around = value_at(data, path[:-1])
    except LookupError:
        return
    if path and isinstance(around, dict):
        around.pop(str(path[-1]), None)


def _doubtful(path: Path, wrong: Sequence[Path], data: JSON) -> bool:
    """Tell whether a value was not seen as it was meant: it, something in it, or what it was given in, was left out."""
    if any(other[: len(path)] == path for other in wrong):
        return True
    try:
        value_at(data, path)
    except LookupError:
        return False
    return any(path[: len(other)] == other for other in wrong)


def _known_path(data: JSON, key: str) -> Path:
    path: Path = ()
    for part in key.split("."):
        path = (*path, int(part) if isinstance(data, list) and part.isdecimal() else part)
        try:
            data = value_at(data, path[-1:])
        except LookupError:
            data = None
    return path
