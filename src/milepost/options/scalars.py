"""How one word of YAML becomes a value, and how a value is written as one word.

The rules are those of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/, section 10.3.2). PyYAML follows
YAML 1.1, where ``1e-3`` is text, ``no`` is false, ``010`` is eight and ``1:30`` is ninety. What is written
here reads the same by either version.
"""

import math
import re

from milepost.options.model import JSON

SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
"""Words that mean true or false, where true or false is expected, and themselves elsewhere."""

_WORDS: dict[str, JSON] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((sign + word for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_DECIMAL = re.compile(r"[-+]?[0-9]{1,400}", re.ASCII)
_PREFIXED = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*", re.ASCII)
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Switch(str):
    """An unquoted yes, no, on or off, until it is known whether the option is a switch or a text."""


class Placeholder(str):
    """An unquoted ???: a value that a template leaves to its user, as OmegaConf has it."""


def read_plain(text: str) -> JSON:
    """Return the value of an unquoted word."""
    if text in _WORDS:
        return _WORDS[text]
    if text.lower() in SWITCHES:
        return Switch(text)
    if text == "???":
        return Placeholder(text)
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def write_scalar(value: bool | int | float | str | None) -> str:
    """Return one word of YAML that is read back as this value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _write_float(value)
    return write_key(_literal(value))


def write_key(key: str) -> str:
    """Return a text as YAML; other than in values, a dollar and brace have no meaning in keys."""
    if _BARE.fullmatch(key) and key.lower() not in _RESERVED:
        return key
    return '"' + "".join(_escape(character) for character in key) + '"'


def _literal(value: str) -> str:
    # OmegaConf takes a dollar after an odd number of backslashes as it is, and halves the backslashes.
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)


def _write_float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(value).partition("e")
    # YAML 1.1 takes 1e-05 for text: its numbers need the point.
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}{power}"


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
