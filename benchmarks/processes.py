"""Run other programs: commands with a log, and calculators that answer from their own interpreters.

Needs nothing but the standard library. Whatever fails raises `SystemExit` with the end of the program's own
output.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def run_logged(command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> float:
    """Run a command in the folder of its log file and return its wall-clock seconds."""
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SystemExit(f"{command[0]} ended with status {done.returncode}; all of its output is in {log}\n{tail}")
    return time.perf_counter() - start


class Worker:
    """One calculator in its own process (see `worker.py`), for use as a context manager.

    `threads` are torch's, 0 for its default; `neighbors` is NequIP's neighbor-list backend.
    """

    def __init__(self, python: Path, kind: str, model: Path, *, threads: int = 0, neighbors: str = "matscipy") -> None:
        command: list[str | Path] = [python, HERE / "worker.py", kind, model.resolve()]
        command += ["--threads", str(threads), "--neighbors", neighbors]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 – open as long as the process
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.open_seconds = self._answer()["open_seconds"]

    def ask(self, do: str, **arguments: Any) -> dict[str, float]:
        """Send one request and wait for its answer."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            self.log.seek(0)
            raise SystemExit(f"a calculator's process ended without an answer:\n{self.log.read()[-2000:]}")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
        self.log.close()


def errors_of(python: Path, kind: str, model: Path, frames: Path) -> dict[str, float]:
    """Compare a model with the reference on all frames of a file; units as in `worker.errors`."""
    with Worker(python, kind, model) as worker:
        return worker.ask("errors", frames=str(frames))
