"""What can happen to a run from outside: no steps at all, files moved away, clocks set back, a device that is gone."""

import itertools
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lifecycle import toy
from lifecycle.runs import differing, milepost, training_state, write_run
from lifecycle.test_diverging import Quiet
from lifecycle.test_diverging import request as cairn
from lifecycle.test_rolling_back import StopAt, assert_same, end_of, only
from milepost.archive import FileSystem
from milepost.checkpoint import list_checkpoints, load_checkpoint, record
from milepost.errors import DataError, MilepostError
from milepost.run import loop, train
from milepost.run.metrics_log import MetricsLog

NEVER = {"every_steps": None, "every_epochs": None}


@pytest.fixture(autouse=True)
def _toy(tmp_path):
    with toy.installed(tmp_path / "toy"):
        yield


def prepared(folder: Path, **options) -> Path:
    folder.mkdir(exist_ok=True)
    toy.write_options(folder, **options)
    return folder


def steps(folder: Path) -> list[int]:
    return [entry.step for entry in list_checkpoints(only(folder) / "checkpoints", verify=True) if entry.verified]


def rows(folder: Path) -> list[dict[str, str]]:
    header, *lines = (only(folder) / "metrics.csv").read_text().splitlines()
    return [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]


@pytest.mark.parametrize("length", [{"epochs": 0}, {"steps": 0}], ids=str)
@pytest.mark.parametrize("held_out", [6, 0])
def test_a_run_of_no_steps_measures_and_publishes_the_model_as_it_begins(tmp_path, length, held_out):
    folder = prepared(tmp_path / "run", training=length, validation_examples=held_out)
    result = toy.run(folder)
    assert (result.outcome, result.step) == ("finished", 0)
    assert steps(folder) == [0]
    (row,) = rows(folder)
    assert row["step"] == "0"
    assert row["training/loss"] == "", "no step was taken"
    assert bool(row.get("validation/loss")) == bool(held_out)
    before = training_state(folder / "model.ckpt")
    torch.manual_seed(3)
    initial = toy.DOMAIN.rebuild(toy.request(folder).options, toy.ARCHITECTURE, {"inputs": toy.INPUTS}).state_dict()
    assert differing(before["model"], dict(initial)) == []
    assert toy.run(folder).directory == result.directory, "the same command leaves everything as it is"
    assert len(rows(folder)) == 1
    assert differing(training_state(folder / "model.ckpt"), before) == []


def test_a_run_of_no_steps_can_be_made_longer(tmp_path):
    folder = prepared(tmp_path / "run", training={"epochs": 0})
    first = toy.run(folder)
    longer = toy.run(folder, "architecture.training.epochs=2")
    assert (longer.directory, longer.step) == (first.directory, 12)
    found = rows(folder)
    assert [row["step"] for row in found] == ["0", "6", "12"]
    assert all(row["training/loss"] for row in found[1:]), "columns are there from the start"


def test_a_fine_tuning_of_no_steps_publishes_the_weights_it_began_with(tmp_path):
    first = prepared(tmp_path / "first")
    toy.run(first)
    ancestor = first / "model.ckpt"
    folder = prepared(tmp_path / "tuned", training={"epochs": 0, "finetune": {"read_from": str(ancestor)}})
    toy.run(folder)
    with load_checkpoint(folder / "model.ckpt") as tuned, load_checkpoint(ancestor) as old:
        assert tuned.record.parents == (old.digest,)
        assert differing(tuned.state("model"), old.state("ema")) == []


@pytest.mark.slow
def test_the_model_of_a_run_of_no_steps_is_exported(tmp_path):
    write_run(tmp_path)
    done = milepost(tmp_path, "train", "options.yaml", "-r", "architecture.training.epochs=0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize("checkpoints", [NEVER, {"every_steps": 1000, "every_epochs": None}], ids=str)
def test_the_end_of_a_run_shorter_than_any_interval_is_saved(tmp_path, checkpoints):
    folder = prepared(tmp_path / "run", checkpoints={**checkpoints, "keep_best": 0}, training={"epochs": 2})
    assert toy.run(folder).outcome == "finished"
    assert steps(folder) == [12]
    assert (folder / "model.ckpt").is_file()


class At(toy.Log):
    """Do something when a step is done."""

    def __init__(self, step, action):
        super().__init__()
        self.at, self.action = step, action

    def step(self, done):
        if done == self.at:
            self.action()


def test_a_metrics_file_that_is_moved_away_goes_on_with_a_header_of_its_own(tmp_path):
    folder = prepared(tmp_path / "run")
    toy.run(folder, reporter=At(8, lambda: (only(folder) / "metrics.csv").rename(folder / "moved.csv")))
    assert [row["step"] for row in rows(folder)] == ["12", "18"]
    assert [line.split(",")[0] for line in (folder / "moved.csv").read_text().splitlines()] == ["step", "6"]


def test_a_metrics_file_that_is_cut_goes_on_behind_its_last_whole_row(tmp_path):
    folder = prepared(tmp_path / "run")

    def cut():
        path = only(folder) / "metrics.csv"
        os.truncate(path, path.stat().st_size - 3)

    toy.run(folder, reporter=At(14, cut))
    assert [row["step"] for row in rows(folder)] == ["6", "18"]
    assert b"\0" not in (only(folder) / "metrics.csv").read_bytes()


def test_the_rows_that_a_checkpoint_counts_are_on_the_device_before_it_and_training_does_not_wait(
    tmp_path, monkeypatch
):
    folder, events = prepared(tmp_path / "run", checkpoints={"durability": "power"}), []
    sync, create = MetricsLog.sync, FileSystem.create

    def synced(self, *, durable=True):
        events.append(("synced" if durable else "written", threading.current_thread().name.partition("_")[0]))
        sync(self, durable=durable)

    def created(self, path):
        if path.name.startswith(".step-"):
            events.append(("begun", threading.current_thread().name.partition("_")[0]))
        return create(self, path)

    monkeypatch.setattr(MetricsLog, "sync", synced)
    monkeypatch.setattr(FileSystem, "create", created)
    toy.run(folder)
    assert events == [("synced", "milepost-saver"), ("begun", "milepost-saver")] * 9


def test_a_run_whose_metrics_were_moved_away_is_continued_with_the_same_bits(tmp_path):
    alone, moved = prepared(tmp_path / "alone"), prepared(tmp_path / "moved")
    toy.run(alone)
    toy.run(moved, reporter=StopAt(9))
    (only(moved) / "metrics.csv").unlink()
    toy.run(moved)
    assert [row["step"] for row in rows(moved)] == ["12", "18"]
    assert differing(end_of(moved)[0]["model"], end_of(alone)[0]["model"]) == []


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_data_that_are_gone_are_named_and_the_run_can_be_continued_once_they_are_back(tmp_path):
    alone, continued = tmp_path / "alone", tmp_path / "continued"
    for folder in (alone, continued):
        (folder / "data").mkdir(parents=True)
        write_run(folder)
        (folder / "frames.xyz").rename(folder / "data" / "frames.xyz")
    place = "training_set.systems=data/frames.xyz"
    train(cairn(alone, place), At(3, lambda: (alone / "data").rename(alone / "unmounted")))
    assert training_state(alone / "model.ckpt"), "data that are read already are not needed again"
    assert train(cairn(continued, place), StopAt(7)).outcome == "stopped"
    (continued / "data").rename(continued / "unmounted")
    before = content(only(continued) / "checkpoints")
    with pytest.raises(DataError, match=r"could not read structures from 'data/frames\.xyz': no such file"):
        train(cairn(continued, place, restart="auto"), Quiet())
    assert content(only(continued) / "checkpoints") == before
    (continued / "unmounted").rename(continued / "data")
    train(cairn(continued, place, restart="auto"), Quiet())
    assert_same(end_of(continued), end_of(alone))


def test_an_interval_in_minutes_is_that_of_a_clock_that_nobody_sets(tmp_path, monkeypatch):
    hands = itertools.count(step=61.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(hands)))
    back = itertools.count(time.time(), -3600.0)
    monkeypatch.setattr(time, "time", lambda: next(back))
    checkpoints = {**NEVER, "every_minutes": 3, "keep_last": 99, "keep_best": 0}
    folder = prepared(tmp_path / "run", checkpoints=checkpoints)
    toy.run(folder)
    assert steps(folder) == [3, 6, 9, 12, 15, 18]


class Backwards(datetime):
    """Tell an earlier time whenever it is asked."""

    calls = itertools.count(1)

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=next(cls.calls))


def test_a_clock_that_is_set_back_changes_neither_what_is_kept_nor_where_a_run_goes_on(tmp_path, monkeypatch):
    alone, continued = prepared(tmp_path / "alone"), prepared(tmp_path / "continued")
    toy.run(alone)
    monkeypatch.setattr(record, "datetime", Backwards)
    for step in (5, 8, 13):
        toy.run(continued, reporter=StopAt(step))
        found = list_checkpoints(only(continued) / "checkpoints")
        assert found[-1].step == step
        for age, entry in enumerate(found):  # the furthest seems to be the oldest
            os.utime(entry.path, (1_000_000 - 1000 * age, 1_000_000 - 1000 * age))
    created = [e.record.created for e in found]
    assert created == sorted(created, reverse=True), "the clock went back from save to save"
    toy.run(continued)
    assert_same(end_of(continued), end_of(alone))
    assert steps(continued) == steps(alone)


def test_a_device_that_is_gone_is_told_before_anything_is_touched(tmp_path):
    alone, continued = prepared(tmp_path / "alone"), prepared(tmp_path / "continued")
    toy.run(alone)
    toy.run(continued, reporter=StopAt(7))
    before = content(only(continued))
    with pytest.raises(MilepostError, match="cuda:63"):
        toy.run(continued, "device=cuda:63")
    assert content(only(continued)) == before
    toy.run(continued, "device=cpu")
    assert_same(end_of(continued), end_of(alone))
