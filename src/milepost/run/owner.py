"""Who works on a run: a process named so that no other can be taken for it, and whether it still lives.

Promise: "ended" is said only of a process that can be proved to be gone; where that can't be known (another machine,
another container) the answer is "unknown". Process numbers are used again, so a process is known by its number and its
start. Needs nothing but the file system of processes (`/proc`), or `ps` where there is none.
Failure: none; what can't be read is unknown.
"""

import json
import os
import platform
import secrets
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Standing = Literal["alive", "ended", "unknown"]

PROC = Path("/proc")
_LARGEST_PROCESS = 2**31 - 1


@dataclass(frozen=True)
class Owner:
    """Name a process: its machine, its number, when it started, since when it holds what it holds.

    `boot` and `namespace` tell one start of a machine, and one container on it, from another; `token` is a random
    number, so that two records are never alike.
    """

    host: str = ""
    pid: int = 0
    start: str | None = None
    boot: str | None = None
    namespace: str | None = None
    since: str = ""
    token: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "a process whose record can't be read"
        return f"process {self.pid} on host '{self.host}', since {self.since}"


def this_process() -> Owner:
    """Name the process that asks."""
    pid = os.getpid()
    found = _state_and_start(pid)
    return Owner(
        host=platform.node(),
        pid=pid,
        start=None if found is None else found[1],
        boot=_boot(),
        namespace=_namespace(),
        since=datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
        token=secrets.token_hex(8),
    )


def owner_text(owner: Owner) -> str:
    """Write an owner down."""
    return json.dumps(asdict(owner), indent=2) + "\n"


def read_owner(path: Path) -> Owner | None:
    """Read who is written down; None where nobody is, and an owner of unknown name where it can't be read."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return Owner()
    if not isinstance(content, dict):
        return Owner()
    values = {key: content.get(key) for key in ("host", "start", "boot", "namespace", "since", "token")}
    pid = content.get("pid")
    texts = all(value is None or isinstance(value, str) for value in values.values())
    if not texts or type(pid) is not int or not 0 < pid <= _LARGEST_PROCESS:
        return Owner()
    blank = Owner()
    return Owner(pid=pid, **{key: getattr(blank, key) if value is None else value for key, value in values.items()})


def standing(owner: Owner) -> Standing:
    """Tell whether a process lives.

    It is judged on its own machine only. One that ran before this machine was last started has ended.
    """
    if not owner.pid:
        return "unknown"
    boot, host = _boot(), platform.node()
    if owner.boot and boot and owner.boot != boot:
        return "ended" if owner.host == host else "unknown"
    if not (owner.boot and boot) and owner.host != host:
        return "unknown"
    if owner.namespace != _namespace():
        return "unknown"
    return "alive" if _lives(owner.pid, owner.start) else "ended"


def _lives(pid: int, start: str | None) -> bool:
    try:
        os.kill(pid, 0)  # asks whether it is there; sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and somebody else's
    found = _state_and_start(pid)
    if found is None:
        return True
    state, began = found
    return state not in "ZX" and start in (None, began)  # a process that nobody has waited for holds nothing


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """Return a process's state, a letter, and when it started, in words of this machine; None where hidden.

    `/proc/PID/stat`: fields 3 and 22, counted after the name, which may hold anything (proc_pid_stat(5)).
    """
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    except (OSError, IndexError):
        pass
    return None if (PROC / "self").exists() else _asked(pid)


def _asked(pid: int) -> tuple[str, str] | None:
    """Ask `ps` (POSIX), where there is no file system of processes."""
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except OSError:
        return None
    state, _, start = found.stdout.strip().partition(" ")
    return (state[:1], start.strip()) if state else None


def _boot() -> str | None:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _namespace() -> str | None:
    try:
        return os.readlink(PROC / "self/ns/pid")  # noqa: PTH115 - its target is no path
    except OSError:
        return None
