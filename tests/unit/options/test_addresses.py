"""Addresses that may hold a secret are told from those that can be written down."""

import pytest

from milepost.options.addresses import may_hold_a_secret


@pytest.mark.parametrize(
    "text",
    [
        "https://me@h/a.pt",
        "https://me:pw@h/a.pt",
        "https://h/a.pt?token=x",
        "https://h/a.pt?download=true&sig=x",
        "HTTPS://h/a.pt?x",
        "http://h/a.pt?x=",
    ],
)
def test_what_may_hold_a_secret(text: str) -> None:
    assert may_hold_a_secret(text)


@pytest.mark.parametrize(
    "text",
    ["https://h/a.pt", "https://h/a.pt?download=true", "https://h/a.pt#x", "a@b/c.pt", "C:/a?b.pt", "file:///a@b", ""],
)
def test_what_does_not(text: str) -> None:
    assert not may_hold_a_secret(text)
