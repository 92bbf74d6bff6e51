"""Files come from the web whole or not at all; the server is one of this test's own."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from milepost.checkpoint import downloading
from milepost.checkpoint.downloading import downloaded, is_address, shown
from milepost.errors import ResumeError

CONTENT = bytes(range(256)) * 100


class Answers(BaseHTTPRequestHandler):
    """Answer by path; remember what was asked."""

    def do_GET(self) -> None:
        asked: list[Any] = self.server.asked  # type: ignore[attr-defined]
        asked.append((self.path, {name.lower() for name in self.headers}))
        path = self.path.partition("?")[0]
        if path == "/gone.ckpt":
            self.send_error(404, "secret in a reason")
            return
        if path == "/moved.ckpt":
            self.send_response(302)
            self.send_header("Location", "/model.ckpt")
            self.end_headers()
            return
        self.send_response(200)
        length = len(CONTENT) + (10 if path == "/short.ckpt" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Serve on this machine alone."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as serving:
        serving.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def address(server: ThreadingHTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


@pytest.mark.parametrize("path", ["model.ckpt", "moved.ckpt", "model.ckpt?download=1#here"])
def test_a_file_is_fetched_and_leaves_nothing(server: ThreadingHTTPServer, path: str) -> None:
    with downloaded(address(server, path)) as found:
        assert found.read_bytes() == CONTENT
        folder = found.parent
    assert not folder.exists()
    assert server.asked[0][0] == "/" + path.partition("#")[0]  # type: ignore[attr-defined]


def test_no_credentials_are_sent(server: ThreadingHTTPServer) -> None:
    whole = f"http://user:secret@127.0.0.1:{server.server_port}/model.ckpt"
    with downloaded(whole) as found:
        assert found.stat().st_size == len(CONTENT)
    assert server.asked[0][1].isdisjoint({"authorization", "cookie"})  # type: ignore[attr-defined]


def test_a_file_that_is_not_there(server: ThreadingHTTPServer) -> None:
    asked = address(server, "gone.ckpt?token=secret")
    with pytest.raises(ResumeError) as caught, downloaded(asked):
        pass
    assert str(caught.value) == (
        f"could not fetch '{address(server, 'gone.ckpt')}': expected the status 200, found 404 Not Found. "
        "Check the address, or fetch the file yourself and name the file."
    )
    assert "secret" not in str(caught.value)


def test_a_file_that_is_cut_short(server: ThreadingHTTPServer) -> None:
    with pytest.raises(ResumeError) as caught, downloaded(address(server, "short.ckpt")):
        pass
    assert f"expected {len(CONTENT) + 10} bytes, found {len(CONTENT)}" in str(caught.value)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ResumeError, match=r"could not fetch 'http://127.0.0.1:1/a.ckpt': expected an answer, found: "):
        with downloaded("http://127.0.0.1:1/a.ckpt"):
            pass


def test_a_secure_address_leads_to_no_insecure_one() -> None:
    handler = downloading._SecureRedirects()
    asked = downloading._request("https://a.example/x")
    with pytest.raises(OSError, match="insecure"):
        handler.redirect_request(asked, None, 302, "", None, "http://b.example/x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("https://a/b", True), ("HTTP://a/b", True), ("file:///a", False), ("a/b.ckpt", False), ("C:/b", False)],
)
def test_addresses_are_told_from_paths(text: str, expected: bool) -> None:
    assert is_address(text) is expected


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("HTTPS://me:pw@host:81/a/b.pt?token=x#y") == "https://host:81/a/b.pt"
    assert Path(shown("https://h/b.pt")).name == "b.pt"
