"""A process is known by more than its number, and is called dead only where that can be known."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.run import owner as module
from milepost.run.owner import Owner, owner_text, read_owner, standing, this_process


@pytest.fixture
def child():
    """Start a process that lives until the test ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def named(pid: int) -> Owner:
    found = module._state_and_start(pid)
    assert found is not None
    return dataclasses.replace(this_process(), pid=pid, start=found[1])


def test_this_process_is_alive() -> None:
    assert standing(this_process()) == "alive"


def test_another_process_is_alive_until_it_ends(child) -> None:
    other = named(child.pid)
    assert standing(other) == "alive"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert standing(other) == "ended", "killed, though nobody has waited for it yet"
    child.wait()
    assert standing(other) == "ended"


def test_a_number_that_is_used_again_is_another_process() -> None:
    me = this_process()
    assert me.start is not None
    assert standing(dataclasses.replace(me, start=str(int(me.start) - 1))) == "ended"


def test_a_process_of_before_the_machine_was_started_has_ended() -> None:
    assert standing(dataclasses.replace(this_process(), boot="another")) == "ended"


@pytest.mark.parametrize(
    "other",
    [
        {"host": "elsewhere", "boot": "another"},
        {"host": "elsewhere", "boot": None},
        {"namespace": "pid:[1]"},
        {"pid": 0},
    ],
    ids=["machine", "machine without a boot id", "container", "unreadable"],
)
def test_what_can_not_be_known_is_unknown(other) -> None:
    assert standing(dataclasses.replace(this_process(), **other)) == "unknown"


def test_without_boot_ids_the_name_of_the_host_tells() -> None:
    assert standing(dataclasses.replace(this_process(), boot=None)) == "alive"


def test_a_process_of_another_user_is_there(monkeypatch) -> None:
    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert standing(this_process()) == "alive"


def test_a_process_that_is_hidden_is_there(monkeypatch) -> None:
    me = this_process()
    monkeypatch.setattr(module, "_state_and_start", lambda pid: None)
    assert standing(me) == "alive"


def test_without_a_file_system_of_processes_ps_is_asked(tmp_path: Path, monkeypatch, child) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(module, "_boot", lambda: None)
    me, other = this_process(), named(child.pid)
    assert me.start
    assert standing(other) == "alive"
    assert standing(dataclasses.replace(other, start="Thu Jan  1 00:00:00 1970")) == "ended"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    me = this_process()
    (tmp_path / "owner.json").write_text(owner_text(me))
    assert read_owner(tmp_path / "owner.json") == me
    assert str(me) == f"process {os.getpid()} on host '{me.host}', since {me.since}"


def test_nobody_is_not_an_owner_that_can_not_be_read(tmp_path: Path) -> None:
    assert read_owner(tmp_path / "owner.json") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"pid": "1"}', '{"pid": -1}', '{"pid": 1e9}', '{"pid": 1, "host": 2}', '{"pid": true}'],
)
def test_an_owner_that_can_not_be_read_is_unknown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "owner.json"
    path.write_text(text)
    found = read_owner(path)
    assert found == Owner()
    assert standing(Owner()) == "unknown"
    assert str(found) == "a process whose record can't be read"


def test_a_number_too_large_for_a_process_is_none(tmp_path: Path) -> None:
    path = tmp_path / "owner.json"
    path.write_text(json.dumps({"pid": 2**40}))
    assert read_owner(path) == Owner()
