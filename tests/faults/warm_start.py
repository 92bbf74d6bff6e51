"""Start a program many times with its imports made once: a server forks, a small client stands for each process.

    python tests/faults/warm_start.py serve SOCKET MODULE…
    python -S tests/faults/warm_start.py run SOCKET PROGRAM ARGUMENT…

The client hands over its arguments, environment, folder and streams, and ends with the status of the process that was
forked for it; if the client is killed, so is that process. PROGRAM is one for `fixed_names.py`, or follows the word
`plain`. Where ckpt-chaos asks for it in the environment, it is armed in the forked process, as its `sitecustomize` does
in a fresh one. Needs Linux; the server has one thread, so that it may fork.
"""

import array
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES = 8


@dataclass
class Task:
    """Hold what a forked process is to do, and for whom."""

    client: socket.socket
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    streams: list[int]


def run(where: str, *arguments: str) -> int:
    """Be the client: return the status of the process that was forked for it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(where)
        text = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
        server.sendmsg([len(text).to_bytes(_BYTES, "little")], [rights])
        server.sendall(text)
        return int(server.recv(_BYTES) or b"1")


class Server:
    """Fork for every client, and tell it how its process ended."""

    def __init__(self, where: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(where)
        self.listener.listen()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(0, selectors.EVENT_READ)

    def serve(self) -> Task | None:
        """Wait for clients until the input ends; in a process that was forked for one, return its task."""
        while True:
            for key, _ in self.selector.select():
                if key.fd == 0:
                    return None
                if key.fileobj is self.listener:
                    task = received(self.listener.accept()[0])
                    child = os.fork()
                    if child == 0:
                        return task
                    self.watch(task, child)
                elif isinstance(key.data, int):  # the client is gone: it says nothing else after its task
                    self.selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
                else:
                    self.ended(key.fd, *key.data)

    def watch(self, task: Task, child: int) -> None:
        for descriptor in task.streams:
            os.close(descriptor)
        self.selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, task.client))
        self.selector.register(task.client, selectors.EVENT_READ, child)

    def ended(self, descriptor: int, child: int, client: socket.socket) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if client in [key.fileobj for key in self.selector.get_map().values()]:
            self.selector.unregister(client)
            client.sendall(str(status if status >= 0 else 128 - status).encode())
        client.close()


def received(client: socket.socket) -> Task:
    """Read what a client hands over."""
    size = array.array("i").itemsize
    head, extra, _, _ = client.recvmsg(_BYTES, socket.CMSG_SPACE(3 * size))
    streams = array.array("i")
    streams.frombytes(extra[0][2])
    length, text = int.from_bytes(head, "little"), b""
    while len(text) < length:
        text += client.recv(length - len(text))
    found: dict[str, Any] = json.loads(text)
    return Task(client, found["arguments"], found["environment"], found["folder"], list(streams))


def become(task: Task) -> None:
    """Make a forked process the one that its client stands for, and run the program."""
    for number, descriptor in enumerate(task.streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(task.environment)
    os.chdir(task.folder)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    if "CKPT_CHAOS_WATCH" in os.environ:
        from ckpt_chaos.targets.common import arm_from_env  # pyright: ignore[reportMissingImports]

        arm_from_env(int(os.environ.get("RANK", "0")), lazy=True)
        os.environ["CKPT_CHAOS_ARMED"] = "1"
    program, *arguments = task.arguments
    if program != "plain":
        from faults import fixed_names

        fixed_names.main(program, *arguments)
    elif arguments[0] == "milepost":
        from milepost.cli import main as milepost

        sys.argv = arguments
        milepost()
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    role, place, *rest = sys.argv[1:]
    if role == "run":
        os._exit(run(place, *rest))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for module in rest:
        importlib.import_module(module)
    server = Server(place)
    print("ready", flush=True)
    work = server.serve()
    if work is not None:
        server.listener.close()
        server.selector.close()
        become(work)
