"""Tell addresses on the web that may be written down from those that may hold a secret; needs no network."""

from urllib.parse import parse_qsl, urlsplit

HARMLESS = {"download"}
"""Keys of a query that say no more than that a file is to be sent as such."""

SECRET = (
    "an address with a user, a password or a query may hold a secret, and options are kept; fetch the file yourself, "
    "and name the file"
)
"""What is wrong with an address that may hold a secret."""


def may_hold_a_secret(text: str) -> bool:
    """Tell whether a text is an address with a user, a password or a telling query; false for a path."""
    address = urlsplit(text)
    if address.scheme.lower() not in ("http", "https"):
        return False
    keys = {key for key, _ in parse_qsl(address.query, keep_blank_values=True)}
    return "@" in address.netloc or bool(keys - HARMLESS)
