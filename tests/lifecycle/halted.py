"""Run `milepost` in processes that halt at a point of their life, say so, and go on when they are told to.

A point is `import:MODULE`, `exit`, or `MODULE:NAME`, a function or method that is called from there; a text has to be
in what it is called with, written out ("" for any). The halt comes before the call, or after it with a `+` before the
point. There the process writes a line to standard output and reads one from standard input: no clock is involved. A
signal that raises ends the halt; one that only sets a flag does not.

A `Nursery` is a process that has imported everything and has one thread; from it the others are forked, so that each
is a process of its own from the first line of the command to the interpreter's end, and starts in no time.
"""

import atexit
import functools
import importlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

HERE = "here"
EVERYTHING = (
    "milepost.run.training",
    "milepost.atoms.domain",
    "milepost.atoms.exporting_files",
    "milepost.atoms.metatomic",
)


def halt() -> None:
    """Say that the point is reached, and wait."""
    os.write(1, f"{HERE}\n".encode())  # where a bar is shown, it takes what is printed
    # A signal between Python's last look for signals and the start of a read is seen when the read is over.
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        pass
    sys.stdin.readline()


class HaltingImport:
    """Halt when a module is imported."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Find nothing: the finders behind this one do."""
        if name == self.module:
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            halt()


def halt_at(point: str, text: str) -> None:
    """Arrange for one halt."""
    module, _, name = point.lstrip("+").partition(":")
    if module == "import":
        sys.meta_path.insert(0, HaltingImport(name))  # type: ignore[arg-type]
        return
    if module == "exit":
        atexit.register(halt)
        return
    *owners, last = name.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, last, halting(getattr(owner, last), text, after=point.startswith("+")))


def halting(function: Callable[..., Any], text: str, *, after: bool) -> Callable[..., Any]:
    """Wrap a function so that its first call with this text halts."""
    halts = iter([True])

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        now = text in repr((arguments, keywords)) and next(halts, False)
        if now and not after:
            halt()
        result = function(*arguments, **keywords)
        if now and after:
            halt()
        return result

    return wrapper


@dataclass(frozen=True)
class Ended:
    """Hold how a process ended and what it printed to standard error."""

    status: int
    said: str


class Nursery:
    """Start commands without the time that imports take; use it as a context manager."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
        self._process = subprocess.Popen(program, pass_fds=[theirs.fileno()])
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:  # it waits for a process that a test that failed left at its halt
            self._process.kill()
            self._process.wait()

    def start(self, folder: Path, point: str, text: str, arguments: tuple[str, ...], files: tuple[int, ...]) -> int:
        """Start the command in a folder, with these files for input, output and errors; return its process."""
        order = {"folder": str(folder), "point": point, "text": text, "arguments": arguments}
        socket.send_fds(self._socket, [json.dumps(order).encode()], files)
        return self._answer()

    def status(self) -> int:
        """Wait for the end of the process that was started; return its exit status, negative for a signal."""
        self._answer()
        self._socket.send(b"?")
        return self._answer()

    def ended(self) -> bool:
        """Tell whether that process has ended."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def _answer(self) -> int:
        answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError("the process that starts others is gone")
        return int(answer)


class Halted:
    """A process at its halt; use it as a context manager, which lets nothing live on.

    Without a point it doesn't halt. Standard error goes to `stderr` where one is given; otherwise it is in what the
    process said.
    """

    def __init__(
        self, nursery: Nursery, folder: Path, point: str, *arguments: str, text: str = "", stderr: int | None = None
    ) -> None:
        self._nursery, self._point = nursery, point
        given, self._input = os.pipe()
        output, written = os.pipe()
        errors, told = os.pipe()
        self.process = nursery.start(
            folder, point, text, arguments, (given, written, told if stderr is None else stderr)
        )
        for file in (given, written, told):
            os.close(file)
        self._output: IO[str] = os.fdopen(output)
        self._errors: IO[str] = os.fdopen(errors)
        self._status: int | None = None

    def __enter__(self) -> Self:
        try:
            if self._point and self._output.readline() != f"{HERE}\n":
                ended = self.to_its_end()
                raise RuntimeError(f"expected the process to halt, found its end with {ended.status}: {ended.said}")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            self.signal(9)
        self.to_its_end()
        self._close()

    def _close(self) -> None:
        os.close(self._input)
        self._output.close()
        self._errors.close()

    def lives(self) -> bool:
        """Tell whether the process is still there."""
        return self._status is None and not self._nursery.ended()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process, number)

    def go_on(self) -> Ended:
        """Let the process go on to its end."""
        os.write(self._input, b"\n")
        return self.to_its_end()

    def to_its_end(self) -> Ended:
        """Wait for the end of a process that goes on, or that a signal made leave its halt."""
        said = self._errors.read()
        if self._status is None:
            self._status = self._nursery.status()
        return Ended(self._status, said)


def commands(orders: socket.socket) -> dict[str, Any]:
    """Start a process for each order that comes; return in each of them, with its order."""
    while True:
        text, files, _, _ = socket.recv_fds(orders, 2**16, 3)
        if not text:
            os._exit(0)
        child = os.fork()
        if child == 0:
            orders.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return dict(json.loads(text))
        for file in files:
            os.close(file)
        orders.send(str(child).encode())
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        orders.send(b"0")  # it has ended, and its number is its own until it is asked for its status
        if not orders.recv(1):
            os._exit(0)
        orders.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def command_in_a_nursery() -> None:
    """Be the process that starts others; in each of those, be the command."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    for module in EVERYTHING:
        importlib.import_module(module)
    order = commands(orders)
    os.chdir(order["folder"])
    os.environ["TERM"] = "xterm"  # where errors go to a terminal, it is one with a cursor
    sys.argv[1:] = order["arguments"]
    if order["point"]:
        halt_at(order["point"], order["text"])
    from milepost.cli import main

    main()


if __name__ == "__main__":
    command_in_a_nursery()
