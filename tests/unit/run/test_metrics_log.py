"""`metrics.csv` has no row twice and none missing, whatever happened between, and no hole."""

import errno
import os

import pytest

from milepost.archive import FileSystem
from milepost.errors import CommitError
from milepost.run.metrics_log import MetricsLog


class Failing(FileSystem):
    """Fail at one kind of call while told to, after some of it is done."""

    call, code = "", errno.ENOSPC

    def write(self, descriptor, data):
        if self.call == "write":
            super().write(descriptor, bytes(data)[:3])
            raise OSError(self.code, os.strerror(self.code))
        return super().write(descriptor, data)

    def fsync(self, descriptor):
        if self.call == "fsync":
            raise OSError(self.code, os.strerror(self.code))


def test_rows_after_the_checkpoint_are_cut_away(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsLog(path)
    log.append({"step": 1, "loss": 0.5})
    state = log.state_dict()
    log.append({"step": 2, "loss": 0.25})
    log.append({"step": 3, "loss": 0.125})
    again = MetricsLog(path)
    again.load_state_dict(state)
    again.append({"step": 2, "loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_a_log_can_be_taken_back_while_it_lives(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 1, "loss": 0.5})
    log.sync()
    state = log.state_dict()
    log.append({"step": 2, "loss": 9.0})
    log.load_state_dict(state)
    log.append({"step": 2, "loss": 0.25})
    log.sync()
    assert log.path.read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_a_lost_file_starts_again_at_the_checkpoint(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 1, "loss": 0.5})
    again = MetricsLog(tmp_path / "elsewhere.csv")
    again.load_state_dict(log.state_dict())
    again.append({"step": 2, "loss": 0.25})
    assert again.path.read_text() == "step,loss\n2,0.25\n"


@pytest.mark.parametrize("other", ["step,loss\n7,0.1\n8,0.2\n9,0.3\n", "st"])
def test_a_file_without_the_last_row_of_the_checkpoint_is_not_cut_in_the_middle_of_another(tmp_path, other):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 1, "loss": 0.5})
    state = log.state_dict()
    log.path.write_text(other)
    again = MetricsLog(log.path)
    again.load_state_dict(state)
    again.append({"step": 2, "loss": 0.25})
    assert log.path.read_text() == "step,loss\n2,0.25\n"


def test_what_a_killed_first_run_left_is_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,9\n2,9\n3,9\n")
    log = MetricsLog(path)
    log.append({"step": 1, "loss": 0.5})
    assert path.read_text() == "step,loss\n1,0.5\n"


def test_columns_that_the_first_row_lacks_are_there_for_later_ones(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv", ["loss", "error"])
    log.append({"step": 0, "loss": 0.5})
    log.append({"step": 1, "loss": 0.25, "error": 2.0})
    assert log.path.read_text() == "step,loss,error\n0,0.5,\n1,0.25,2\n"


def test_rows_without_space_wait_whole_and_are_written_once(tmp_path):
    disk, noted = Failing(), []
    log = MetricsLog(tmp_path / "metrics.csv", short=noted.append, filesystem=disk)
    log.append({"step": 1, "loss": 0.5})
    disk.call = "write"
    log.append({"step": 2, "loss": 0.25})
    log.append({"step": 3, "loss": 0.125})
    assert log.path.read_text() == "step,loss\n1,0.5\n", "no part of a row stays"
    assert [error.errno for error in noted] == [errno.ENOSPC] * 2
    with pytest.raises(CommitError, match=r"could not write the metrics in .*metrics\.csv.*No space left"):
        log.sync()
    disk.call = ""
    log.sync()
    assert log.path.read_text() == "step,loss\n1,0.5\n2,0.25\n3,0.125\n"
    again = MetricsLog(log.path)
    again.load_state_dict(log.state_dict())
    assert again.state_dict()["length"] == log.path.stat().st_size


def test_without_anybody_to_tell_a_lack_of_space_is_an_error(tmp_path):
    disk = Failing()
    disk.call = "write"
    with pytest.raises(CommitError):
        MetricsLog(tmp_path / "metrics.csv", filesystem=disk).append({"step": 1})


def test_another_error_is_not_lived_through(tmp_path):
    disk, noted = Failing(), []
    disk.call, disk.code = "write", errno.EIO
    log = MetricsLog(tmp_path / "metrics.csv", short=noted.append, filesystem=disk)
    with pytest.raises(CommitError) as caught:
        log.append({"step": 1})
    assert caught.value.errno == errno.EIO
    assert noted == []


def test_a_file_whose_sync_failed_is_replaced_and_not_synced_again(tmp_path):
    disk = Failing()
    log = MetricsLog(tmp_path / "metrics.csv", filesystem=disk)
    log.append({"step": 1, "loss": 0.5})
    log.sync()
    before = log.path.stat().st_ino
    log.append({"step": 2, "loss": 0.25})
    disk.call = "fsync"
    with pytest.raises(CommitError, match="could not sync the metrics"):
        log.sync()
    disk.call = ""
    # What the device never got: the kernel may have dropped it.
    os.truncate(log.path, len("step,loss\n1,0.5\n"))
    log.append({"step": 3, "loss": 0.125})
    log.sync()
    assert log.path.stat().st_ino != before
    assert log.path.read_text() == "step,loss\n1,0.5\n2,0.25\n3,0.125\n"


@pytest.mark.parametrize(("left", "expected"), [
    (None, "step,loss\n2,0.25\n"),
    ("", "step,loss\n2,0.25\n"),
    ("step,lo", "step,loss\n2,0.25\n"),
    ("step,loss\n0,", "step,loss\n2,0.25\n"),
    ("step,loss\n0,1\n1,", "step,loss\n0,1\n2,0.25\n"),
])  # fmt: skip
@pytest.mark.parametrize("synced", [True, False])
def test_nothing_is_written_behind_a_hole(tmp_path, left, expected, synced):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 0, "loss": 1.0})
    log.append({"step": 1, "loss": 0.5})
    if synced:
        log.sync()
    log.path.unlink()
    if left is not None:
        log.path.write_text(left)
    log.append({"step": 2, "loss": 0.25})
    log.sync()
    assert log.path.read_text() == expected
    again = MetricsLog(log.path)
    again.load_state_dict(log.state_dict())
    again.append({"step": 3, "loss": 0.125})
    assert log.path.read_text() == expected + "3,0.125\n"


def test_a_file_that_vanishes_before_a_checkpoint_leaves_a_log_that_can_be_continued(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 1, "loss": 0.5})
    log.path.unlink()
    log.sync()
    again = MetricsLog(log.path)
    again.load_state_dict(log.state_dict())
    again.append({"step": 2, "loss": 0.25})
    assert log.path.read_text() == "step,loss\n2,0.25\n"
