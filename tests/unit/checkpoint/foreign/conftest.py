"""Fixtures: a window on given bytes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from milepost.checkpoint.foreign.window import Files, Window


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Callable[[bytes], Window]]:
    """Write bytes to a file and give the window on it."""
    with ExitStack() as stack:

        def write(data: bytes) -> Window:
            path = tmp_path / f"file-{len(list(tmp_path.iterdir()))}"
            path.write_bytes(data)
            return stack.enter_context(Files().reading()).whole(path)

        yield write
