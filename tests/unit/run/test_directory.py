"""One run, one directory: never shared in silence, found again by what it is."""

from datetime import UTC, datetime

import pytest

from milepost.errors import ResumeError
from milepost.run.directory import find_runs, new_run, open_run

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def test_a_run_gets_the_directory_of_its_time(tmp_path):
    run = new_run(tmp_path, "x", NOON)
    assert run.path == tmp_path / "2026-01-31" / "12-00-00"
    assert run.checkpoints.is_dir()
    assert open_run(run.path).record == run.record


def test_two_runs_of_one_second_do_not_mix(tmp_path):
    first, second = new_run(tmp_path, "x", NOON), new_run(tmp_path, "x", NOON)
    assert second.path.name == "12-00-00-2"
    assert first.record.run_id != second.record.run_id


def test_a_second_process_is_refused(tmp_path):
    run = new_run(tmp_path, "x", NOON)
    run.acquire()
    try:
        with pytest.raises(ResumeError, match="another process is training it"):
            open_run(run.path).acquire()
    finally:
        run.release()


def test_what_is_no_run_is_passed_over(tmp_path):
    new_run(tmp_path, "x", NOON)
    broken = tmp_path / "2026-01-31" / "13-00-00"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    assert [run.path.name for run in find_runs(tmp_path)] == ["12-00-00"]
    assert open_run(tmp_path) is None


def test_how_a_run_stands_is_written_down(tmp_path):
    run = new_run(tmp_path, "x", NOON)
    run.update("stopped", 7)
    assert open_run(run.path).record.state == "stopped"
    assert open_run(run.path).record.step == 7
