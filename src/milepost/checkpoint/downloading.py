"""Fetch a file from the web into a temporary folder, for as long as it is read.

Promise: a file that was cut short is noticed where its length is known, and nothing of what was fetched stays. No
credentials are sent, and a secure address never leads to an insecure one. Messages show an address without the parts
that may hold a secret: user, password, query.
Failure: ResumeError saying what the server, or the network, answered.
"""

import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, responses
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from milepost.errors import ResumeError

TIMEOUT = 60.0
"""Seconds that a server may be silent."""

_ADVICE = "Check the address, or fetch the file yourself and name the file."


def is_address(text: str) -> bool:
    """Tell whether a text is an address on the web, and not a path."""
    return urlsplit(text).scheme.lower() in ("http", "https")


def shown(address: str) -> str:
    """Return an address without what may be secret: user, password, query and fragment."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme.lower()}://{host}{parts.path}"


@contextmanager
def downloaded(address: str, timeout: float = TIMEOUT) -> Generator[Path]:
    """Fetch a file; give its path, which is gone when the context ends.

    Raises ResumeError where there is no such file, or not all of it came.
    """
    with tempfile.TemporaryDirectory(prefix="milepost-") as folder:
        path = Path(folder) / (Path(urlsplit(address).path).name or "download")
        try:
            length = _fetch(address, path, timeout)
        except urllib.error.HTTPError as error:
            with error:
                found = f"{error.code} {responses.get(error.code, '')}".rstrip()
                raise _failure(address, f"expected the status 200, found {found}") from None
        except urllib.error.URLError as error:
            raise _failure(address, f"expected an answer, found: {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise _failure(address, f"expected a whole file, found: {type(error).__name__}: {error}") from None
        if length is not None and length != path.stat().st_size:
            raise _failure(address, f"expected {length} bytes, found {path.stat().st_size}")
        yield path


def _fetch(address: str, path: Path, timeout: float) -> int | None:
    """Fetch, and return the length that the server announced."""
    opener = urllib.request.build_opener(_SecureRedirects)
    with opener.open(_request(address), timeout=timeout) as answer, path.open("wb") as stream:
        shutil.copyfileobj(answer, stream)
        length = answer.headers.get("Content-Length")
        return int(length) if length is not None and length.isdigit() else None


def _request(address: str) -> urllib.request.Request:
    parts = urlsplit(address)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    return urllib.request.Request(plain, headers={"User-Agent": "milepost", "Accept-Encoding": "identity"})


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a secure address to secure ones only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Any:
        """Refuse an address that is less secure than the one that was asked for."""
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError("the server leads from a secure address to an insecure one")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _failure(address: str, reason: str) -> ResumeError:
    return ResumeError(f"could not fetch '{shown(address)}': {reason}. {_ADVICE}")
