"""Strict JSON: what an archive's documents may say, and nothing that two readers could read differently.

Promise: `loads(dumps(x)) == x`, with the order of keys kept and deterministic bytes.
Failure: `loads` raises ValueError with the reason (duplicate key, NaN literal, nesting, bad UTF-8, …). Its time grows
with the document's length and its memory is bounded, whatever the document says.
"""

import json
from typing import Any, cast

MAX_DEPTH = 128
MAX_DOCUMENT_BYTES = 64 * 2**20
# A value takes some hundred bytes of memory where its text takes two, so a bound on the text alone allows gigabytes.
# These characters bound the number of values, and can be counted before anything is parsed.
MAX_SEPARATORS = 2**21
_SEPARATORS = (b",", b"[", b"{")


def dumps(value: Any) -> bytes:
    """Encode `value` as UTF-8 JSON; raises ValueError for what JSON or UTF-8 cannot say."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, separators=(",", ": "))
    return text.encode("utf-8")


def dumps_compact(value: Any) -> bytes:
    """Encode `value` as UTF-8 JSON without white space."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def loads(data: bytes) -> Any:
    """Decode UTF-8 JSON strictly; raises ValueError with the reason."""
    reason = reason_against_size(data)
    if reason:
        raise ValueError(reason)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"expected at most {MAX_DEPTH} levels of nesting, found many more") from None
    _check_depth(value)
    return value


def reason_against_size(data: bytes) -> str | None:
    """Say why a document is too long or holds too many values, or return None; it need not be parsed for that."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return f"expected at most {MAX_DOCUMENT_BYTES} bytes of JSON, found {len(data)}"
    found = sum(map(data.count, _SEPARATORS))
    if found > MAX_SEPARATORS:
        return f"expected at most {MAX_SEPARATORS} characters ',', '[' and '{{' in JSON, found {found}"
    return None


def _check_depth(value: Any) -> None:
    """Walk level by level, so that the check itself cannot exhaust the stack."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise ValueError(f"expected at most {MAX_DEPTH} levels of nesting, found more")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        children = list(cast(dict[str, Any], node).values())
    else:
        children = cast(list[Any], node) if isinstance(node, list) else []
    return [child for child in children if isinstance(child, dict | list)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} occurs twice in one object")
            seen.add(key)
    return result


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"expected a finite number, found {text}")
