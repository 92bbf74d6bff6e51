"""JSON that says too much is refused before it is parsed; keys are compared once each."""

import json

import pytest

from milepost.archive import jsontext, plan_archive
from milepost.errors import UnsavableError


def test_the_bound_on_separators_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "MAX_SEPARATORS", 6)
    assert jsontext.loads(b'[{"a": [1, 2]}, "x,"]') == [{"a": [1, 2]}, "x,"]
    for text in (b"[1,2,3,4,5,6,7]", b"[[[[[[[]]]]]]]", b'[",,,,,,"]', b"[{},{},{},{}]"):
        with pytest.raises(ValueError, match=r"expected at most 6 characters .* in JSON, found [78]$"):
            jsontext.loads(text)


def test_what_says_too_much_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *args, **kwargs: pytest.fail("it was parsed"))
    for text in (b"[" * (jsontext.MAX_SEPARATORS + 1), b" " * (jsontext.MAX_DOCUMENT_BYTES + 1)):
        with pytest.raises(ValueError, match="expected at most"):
            jsontext.loads(text)


def test_the_bound_leaves_room_for_an_optimizer_of_65536_tensors() -> None:
    row = b'"state.65535.exp_avg_sq":{"dtype":"F32","shape":[64,64,3,3],"data_offsets":[1,2]},'
    header = b"{" + row * (3 * 65_536) + b"}"
    assert jsontext.reason_against_size(header) is None


def test_a_writer_keeps_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "MAX_SEPARATORS", 1000)
    plan_archive(kind="k", components={"c": [0] * 1000}, files={}, manifest={})
    message = (
        r"could not save 'c\.json': expected at most 1000 characters .*, found 1001\. "
        "Put large sequences of numbers into tensors"
    )
    with pytest.raises(UnsavableError, match=message):
        plan_archive(kind="k", components={"c": [0] * 1001}, files={}, manifest={})


class Counted(str):
    """Count comparisons of texts with texts."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_key_that_is_there_twice_is_found_without_comparing_all_with_all() -> None:
    pairs = [(Counted(number), 1) for number in range(5000)]
    Counted.compared = 0
    with pytest.raises(ValueError, match="the key '4999' occurs twice in one object"):
        jsontext._unique_keys([*pairs, (Counted(4999), 2)])
    assert 0 < Counted.compared < 100
