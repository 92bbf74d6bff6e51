"""``${key}``: take a value from elsewhere in the options or from the environment, as OmegaConf does."""

from typing import Any, cast

from milepost.options.draft import Draft, leaves, replace_value
from milepost.options.expectation import found
from milepost.options.mistakes import Path
from milepost.options.model import JSON
from milepost.options.scalars import SWITCHES, Switch

_MARK = "${"


def resolve_interpolations(draft: Draft) -> None:
    """Replace every interpolation by the value it stands for.

    ``${a.b}`` counts from the root, ``${.b}`` from the section, ``${oc.env:NAME}`` reads the environment, and
    a backslash before the dollar keeps the text. Only keys that are given can be referred to, not defaults.
    The syntax is OmegaConf's: https://omegaconf.readthedocs.io/en/latest/usage.html#variable-interpolation
    """
    marked = [path for path, value in leaves(draft.data) if isinstance(value, str) and _MARK in value]
    if marked:
        # Imported here because it takes longer than reading options that don't need it.
        from omegaconf.errors import OmegaConfBaseException

        config = _config(draft, marked)
        for path in marked:
            try:
                replace_value(draft.data, path, _resolved(config, path))
            except OmegaConfBaseException as error:
                draft.give_up(path, f"this interpolation can't be resolved: {_first_line(error)}")


def _config(draft: Draft, marked: list[Path]) -> Any:
    """Return the data as an OmegaConf object, without the texts that OmegaConf can't read."""
    from omegaconf import OmegaConf
    from omegaconf.errors import GrammarParseError

    data = _plain(draft.data)
    for path, text in leaves(data):
        if path in marked:
            try:
                OmegaConf.create({"text": text})
            except GrammarParseError:
                draft.give_up(path, f"expected ${{key}}, or \\${{ for the text itself, found {found(text)}")
                replace_value(data, path, None)
    return OmegaConf.create(cast(dict[str, Any], data))


def _resolved(config: Any, path: Path) -> JSON:
    from omegaconf import OmegaConf

    value = config
    for part in path:
        value = value[part]
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)  # pyright: ignore[reportReturnType]
    return Switch(value) if isinstance(value, str) and value.lower() in SWITCHES else value


def _plain(value: JSON) -> JSON:
    """Copy the data without the subclasses of str, which OmegaConf refuses."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def _first_line(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text[:1].lower() + text[1:]
