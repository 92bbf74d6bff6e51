"""`on_nan: rollback`: a run that meets bad examples leaves them out, and a kill on the way changes nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lifecycle import toy
from lifecycle.runs import differing, training_state
from milepost.checkpoint import list_checkpoints
from milepost.errors import DivergedError

BAD = 21
"""Example whose target is NaN: it spoils the steps 3, 10 and 17, one of every epoch."""

KILLS = ((), (3,), (4,), (5,), (6, 5), (7,), (8, 9, 7), (9,), (10, 4, 4), (16,), (17, 3), (18, 3), (19,), (20, 20))
"""At which call of those counted a process is killed, one number for each process; the one after them lives.
The first run is the oracle."""

KILLED = """
import os, signal, sys
from pathlib import Path
from lifecycle import toy
from lifecycle.test_rolling_back import KILLS
from milepost.run import rollback

left = 0

def killing(function):
    def counted(*arguments, **keywords):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return counted

for name in ("describe_checkpoint", "load_checkpoint", "Skip", "SkippedSteps", "_steps"):
    setattr(rollback, name, killing(getattr(rollback, name)))

class Steps(toy.Log):
    def step(self, done):
        pass
    step = killing(step)

def run(folder, calls):
    global left
    child = os.fork()  # this process has one thread: it has not computed anything
    if child == 0:
        left = calls
        try:
            toy.run(folder, reporter=Steps())
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for number, kills in enumerate(KILLS):
    folder = Path(sys.argv[1]) / str(number)
    found = [run(folder, calls) for calls in (*kills, 0)]
    expected = [-signal.SIGKILL] * len(kills) + [0]
    if found != expected:
        sys.exit(f"{kills}: expected {expected}, found {found}")
"""


@pytest.fixture(autouse=True)
def _toy(tmp_path):
    with toy.installed(tmp_path / "toy"):
        yield


def prepared(folder: Path, *, training=None, checkpoints=None, poisoned=(BAD,)) -> Path:
    folder.mkdir(exist_ok=True)
    training = {"on_nan": "rollback", **(training or {})}
    toy.write_options(folder, training=training, checkpoints=checkpoints, poisoned=list(poisoned))
    return folder


def end_of(folder: Path) -> tuple[dict[str, object], dict[str, object], str]:
    """Read what a run leaves: the model, the last state, the metrics."""
    directory = only(folder)
    last = list_checkpoints(directory / "checkpoints")[-1].path
    return training_state(folder / "model.ckpt"), training_state(last), (directory / "metrics.csv").read_text()


def only(folder: Path) -> Path:
    (directory,) = (path.parent for path in folder.glob("outputs/*/*/run.json"))
    return directory


def assert_same(found, oracle) -> None:
    assert differing(found[0], oracle[0]) == []
    assert differing(found[1], oracle[1]) == []
    assert found[2] == oracle[2]


def skips(state) -> list[tuple[int, int, int]]:
    return [(skip["first"], skip["last"], skip["back_to"]) for skip in state["skipped"]["skips"]]


def test_the_batch_is_left_out_once_in_every_epoch_and_everything_is_recorded(tmp_path):
    folder, log = prepared(tmp_path / "run"), toy.Log()
    result = toy.run(folder, reporter=log)
    assert (result.outcome, result.step) == ("finished", 18)
    _, last, metrics = end_of(folder)
    assert skips(last) == [(3, 3, 2), (10, 10, 8), (17, 17, 16)]
    assert all(BAD in skip["examples"] for skip in last["skipped"]["skips"])
    assert json.loads((only(folder) / "left-out.json").read_text()) == last["skipped"]["skips"]
    told = [line for line in log.lines if "diverged" in line]
    assert len(told) == 3
    assert f"toy {BAD}" in told[0]
    assert re.search(r"step 3 diverged \(a loss of nan .*going back to 'step-00000002.ckpt' and leaving out", told[0])
    assert [line.split(",")[0] for line in metrics.splitlines()] == ["step", "6", "12", "18"]
    assert all(bool(torch.isfinite(value).all()) for value in last["model"].values())


def test_batches_that_workers_make_ahead_are_those_of_the_step_gone_back_to(tmp_path):
    alone, helped = prepared(tmp_path / "alone"), prepared(tmp_path / "helped", training={"loader_workers": 1})
    toy.run(alone)
    toy.run(helped)
    assert_same(end_of(helped), end_of(alone))


def test_the_schedule_counts_the_step_that_the_optimizer_does_not_take(tmp_path):
    folder = prepared(tmp_path / "run", training={"steps": 6})
    toy.run(folder)
    _, last, _ = end_of(folder)
    taken = last["optimizer"]["state"]["layers.0.weight"]["step"]
    assert float(taken) == 5
    assert last["position"]["step"] == 6


def test_a_kill_at_any_moment_of_a_rollback_changes_nothing(tmp_path):
    for number in range(len(KILLS)):
        prepared(tmp_path / str(number))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env=toy.environment(tmp_path / "toy") | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    oracle = end_of(tmp_path / "0")
    assert len(skips(oracle[1])) == 3
    for number in range(1, len(KILLS)):
        assert_same(end_of(tmp_path / str(number)), oracle)


class StopAt(toy.Log):
    """Send a signal to this process when a step is done."""

    def __init__(self, step):
        super().__init__()
        self.at = step

    def step(self, done):
        if done == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def test_damaged_checkpoints_are_passed_over_and_named(tmp_path):
    folder = prepared(tmp_path / "run", checkpoints={"every_steps": 1, "keep_last": 9})
    toy.run(folder, reporter=StopAt(3))
    damaged = only(folder) / "checkpoints" / "step-00000002.ckpt"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    log = toy.Log()
    toy.run(folder, reporter=log)
    assert any(f"passed over damaged '{damaged}'" in line for line in log.lines)
    assert skips(end_of(folder)[1])[0] == (3, 3, 1)


def test_without_a_checkpoint_to_go_back_to_the_run_stops_as_without_rollback(tmp_path):
    folder = prepared(tmp_path / "run", poisoned=range(22))
    with pytest.raises(DivergedError, match="none: no step was taken from a saved state"):
        toy.run(folder)


def test_weights_that_are_at_fault_are_taken_back(tmp_path, monkeypatch):
    """Where the very next step diverges too, the run goes on with the weights of the checkpoint."""
    from milepost.run.advancing import Advance

    folder = prepared(tmp_path / "run", poisoned=(), checkpoints={"every_steps": 4, "keep_last": 99})
    take = Advance.__call__

    def spoiled(self):
        step = self.state.position.step
        value = take(self)
        if step == 5:
            with torch.no_grad():
                next(self.state.model.parameters()).fill_(torch.nan)
        return value

    monkeypatch.setattr(Advance, "__call__", spoiled)
    log = toy.Log()
    result = toy.run(folder, reporter=log)
    assert result.outcome == "finished"
    _, last, _ = end_of(folder)
    assert skips(last) == [(6, 6, 4), (4, 7, 4)]
    assert any("leaving out the steps 4 to 7" in line for line in log.lines)
    states = {e.step: training_state(e.path) for e in list_checkpoints(only(folder) / "checkpoints")}
    assert differing(states[8]["model"], states[4]["model"]) == []
    assert bool(torch.isfinite(last["model"]["layers.0.weight"]).all())


def test_a_run_that_going_back_does_not_help_is_given_up(tmp_path, monkeypatch):
    from milepost.run.advancing import Advance

    folder = prepared(tmp_path / "run", poisoned=(), training={"steps": 60})
    take = Advance.__call__

    def spoiled(self):
        if self.state.position.step >= 5:
            with torch.no_grad():
                next(self.state.model.parameters()).fill_(torch.nan)
        return take(self)

    monkeypatch.setattr(Advance, "__call__", spoiled)
    with pytest.raises(DivergedError) as caught:
        toy.run(folder)
    text = str(caught.value)
    assert "Going back did not help: 10 times in a row no checkpoint was left behind" in text
    assert "step 5 (went back to step 4), examples [" in text


def test_two_checkpoints_back_is_two_checkpoints_back_and_so_many_are_kept(tmp_path):
    folder = prepared(
        tmp_path / "run", training={"rollback_checkpoints": 2, "steps": 30}, poisoned=(),
        checkpoints={"every_steps": 3, "keep_last": 1, "keep_best": 0},
    )  # fmt: skip

    toy.run(folder)
    assert [e.step for e in list_checkpoints(only(folder) / "checkpoints")] == [24, 27, 30]


def test_checkpoints_that_a_signal_asked_for_do_not_change_where_a_rollback_goes(tmp_path):
    alone, stopped = (
        prepared(tmp_path / name, checkpoints={"every_steps": 3}, poisoned=[5]) for name in ("alone", "stopped")
    )
    toy.run(alone)
    assert skips(end_of(alone)[1]) == [(4, 4, 3), (9, 9, 6), (16, 16, 15)]
    for step in (2, 5, 8, 11, 16):
        toy.run(stopped, reporter=StopAt(step))
    toy.run(stopped)
    assert_same(end_of(stopped), end_of(alone))


def test_show_tells_what_was_left_out(tmp_path):
    folder = prepared(tmp_path / "run")
    toy.run(folder)
    last = list_checkpoints(only(folder) / "checkpoints")[-1].path
    shown = subprocess.run(
        [sys.executable, "-c", "from milepost.cli import main; main()", "show", str(last)],
        env=toy.environment(tmp_path / "toy"), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (_, step, back), *_ = skips(training_state(last))
    assert f"left out  step {step} (went back to step {back})" in shown
