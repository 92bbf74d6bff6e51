"""A lack of space is told once each way, and nothing else is lived through."""

import errno

import pytest

from milepost.errors import CommitError
from milepost.run import shortage
from milepost.run.shortage import Shortage, lacks_space


def full(code=errno.ENOSPC):
    error = CommitError("could not write")
    error.errno = code
    return error


@pytest.fixture
def lines():
    return []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_lack_of_space_is_a_full_disk_or_a_used_up_quota(code):
    assert lacks_space(full(code))


@pytest.mark.parametrize("error", [full(errno.EIO), full(errno.EROFS), OSError("no number"), ValueError()])
def test_nothing_else_is_a_lack_of_space(error, lines, tmp_path):
    assert not lacks_space(error)
    with pytest.raises(type(error)), Shortage(lines.append).outlived("it", tmp_path):
        raise error


def test_it_is_told_once_each_way_however_often_it_is_tried(lines, tmp_path):
    short = Shortage(lines.append)
    short.report("nothing")
    for step in (2, 4, 6):
        with short.outlived(f"the checkpoint of step {step}", tmp_path, lambda: 2_500_000):
            raise full()
        short.report()
    assert len(lines) == 1
    assert lines[0].startswith(
        f"could not save the checkpoint of step 2 in '{tmp_path}' for lack of space (2.5 MB needed, "
    )
    assert short.noted
    short.over()
    short.report("step 8")
    short.report("step 10")
    assert lines[1:] == ["there is space again: saved step 8"]
    assert not short.noted


def test_a_shortage_that_passes_before_anybody_heard_of_it_is_not_told(lines, tmp_path):
    short = Shortage(lines.append)
    with short.outlived("a row", tmp_path):
        raise full()
    short.over()
    short.report("step 1")
    assert lines == []


def test_a_quota_is_told_as_one(lines, tmp_path):
    short = Shortage(lines.append)
    short.note(full(errno.EDQUOT), "a row", tmp_path)
    short.report()
    assert "a quota may leave less" in lines[0]


def test_waiting_ends_with_the_first_attempt_that_succeeds(lines, monkeypatch):
    monkeypatch.setattr(shortage, "LOOK_EVERY_SECONDS", 0.001)
    attempts = iter([False, False, True])
    assert Shortage(lines.append).waited_out(lambda: next(attempts))
    assert next(attempts, None) is None
    assert "waiting up to 10 minutes for space" in lines[0]


def test_waiting_has_an_end(lines, monkeypatch):
    monkeypatch.setattr(shortage, "LOOK_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 0.01)
    assert not Shortage(lines.append).waited_out(lambda: False)


def test_nobody_waits_when_a_signal_came(lines):
    assert not Shortage(lines.append, lambda: True).waited_out(lambda: True)
    assert lines == []


def test_a_signal_ends_the_waiting(lines):
    pressed = iter([False, False, True])
    assert not Shortage(lines.append, lambda: next(pressed)).waited_out(lambda: True)
