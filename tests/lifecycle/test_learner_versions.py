"""What an older version of a learner remembered: the run goes on, the file predicts, and it is converted.

The versions are made up: in the second one, an option and two keys of the state have other names, and the second
version of a learner that remembered nothing remembers something. Files of the first are those of today.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import Field
from torch import nn

from lifecycle.runs import differing, training_state
from lifecycle.test_learners import oracle, run, write
from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.checkpoint.converting import convert
from milepost.cli import main
from milepost.cli.convert import learner as renew
from milepost.cli.validation import read_options
from milepost.errors import ArchiveError, StateMismatchError, UnsupportedVersionError
from milepost.images.mammoth import laid_out
from milepost.learning import LearnerSpec, find_learner, registry
from milepost.learning.learners import icarl
from milepost.learning.learners.er import ExperienceReplay
from milepost.learning.learners.finetune import Finetune
from milepost.learning.learners.options import BufferOptions, MemoryOptions
from milepost.model import Component
from milepost.run import Request, open_trained, train
from milepost.run.versions import options_of_today

HERE = __name__
STOP = 9


class SecondOptions(MemoryOptions):
    """`minibatch_size` is called `replayed`."""

    replayed: int | None = Field(default=None, ge=1)


class SecondReplay(ExperienceReplay):
    """`drawn` is called `draws` in the state."""

    def __init__(self, options: Any, setting: Any) -> None:
        sizes = {"buffer_size": options.buffer_size, "minibatch_size": options.replayed}
        super().__init__(BufferOptions(name="er", **sizes), setting)

    def state_dict(self) -> dict[str, Any]:
        """Return it under today's names."""
        return {"buffer": self.buffer.state_dict(), "draws": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of today."""
        super().load_state_dict({"buffer": state["buffer"], "drawn": state["draws"]})


class Counting(Finetune):
    """Remember how many steps there were."""

    steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a count."""
        self.steps = state["steps"]


def renamed(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lead from the first version of `er` to the second."""
    options["replayed"] = options.pop("minibatch_size")
    state["draws"] = state.pop("drawn")
    return options, state


def begun(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lead from a learner that remembers nothing to one that does."""
    assert state == {}
    return options, {"steps": 100}


def classifier(model: nn.Module, options: Any, state: Mapping[str, Any], objective: Any, examples: Any) -> nn.Module:
    """Predict as iCaRL does, from a state of its second version."""
    return icarl.classifier(model, options, {"exemplars": state["kept"]}, objective, examples)


def kept(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lead from the first version of `icarl` to the second."""
    return options, {
        **{name: value for name, value in state.items() if name != "exemplars"},
        "kept": state["exemplars"],
    }


SECOND = {
    "er": dataclasses.replace(
        find_learner("er"),
        version=2,
        options=SecondOptions,
        build=Component(HERE, "SecondReplay"),
        upgrades={1: renamed},
    ),
    "finetune": dataclasses.replace(
        find_learner("finetune"), version=2, build=Component(HERE, "Counting"), upgrades={1: begun}
    ),
    "icarl": dataclasses.replace(
        find_learner("icarl"), version=2, predictor=Component(HERE, "classifier"), upgrades={1: kept}
    ),
}


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the second versions."""
    load = registry._loaded

    def loaded(point: Any) -> LearnerSpec:
        return SECOND.get(point.name) or load(point)

    monkeypatch.setattr(registry, "_loaded", loaded)


def stopped(folder: Path, learner: str) -> Path:
    """Stop a run of the first version in its second task; return its last checkpoint."""
    write(folder, learner)
    run(folder, STOP, [])
    return max(folder.glob("outputs/*/*/checkpoints/*.ckpt"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a run of `er` that was stopped."""
    oracle("er")  # it is of this version, too
    folder = tmp_path_factory.mktemp("first")
    stopped(folder, "er")
    return folder


def in_copy(folder: Path, target: Path) -> Path:
    """Copy a run; return its last checkpoint."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    return max(target.glob("outputs/*/*/checkpoints/*.ckpt"))


def with_new_name(folder: Path) -> None:
    """Write the options as the second version of `er` has them."""
    path = folder / "options.yaml"
    options = yaml.safe_load(path.read_text("utf-8"))
    options["learner"]["replayed"] = options["learner"].pop("minibatch_size")
    path.write_text(yaml.safe_dump(options), encoding="utf-8")


def go_on(folder: Path, checkpoint: Path) -> Path:
    """Continue a run from a checkpoint to its end; return the last one."""
    from lifecycle.test_exactness import StopAt

    options, architecture = read_options(folder / "options.yaml")
    train(Request(options, architecture, folder, folder / "model.ckpt", str(checkpoint)), StopAt(None))
    return max(checkpoint.parent.glob("*.ckpt"))


def test_a_run_of_an_older_version_goes_on_exactly(first: Path, tmp_path: Path, second: None) -> None:
    before = oracle("er")[0]["last"]
    checkpoint = in_copy(first, tmp_path)
    with_new_name(tmp_path)
    last = go_on(tmp_path, checkpoint)
    after: Any = training_state(last)
    after["learner"]["drawn"] = after["learner"].pop("draws")
    assert differing(after, before) == []
    with load_checkpoint(last) as done:
        assert done.record.versions["learner er"] == 2
        assert yaml.safe_load(done.options_yaml)["learner"]["replayed"] == 7


def test_a_run_of_a_learner_that_remembered_nothing_goes_on(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    checkpoint = stopped(tmp_path, "finetune")
    with load_checkpoint(checkpoint) as old:
        assert "learner" not in old.components
    request.getfixturevalue("second")
    with load_checkpoint(go_on(tmp_path, checkpoint)) as new:
        assert new.state("learner") == {"steps": 100}
        assert new.record.versions["learner finetune"] == 2


def test_an_old_file_is_converted(first: Path, tmp_path: Path, second: None) -> None:
    old = in_copy(first, tmp_path)
    done = convert(old, tmp_path / "new.ckpt", renew=renew)
    assert done.notes == ("learner er: version 1 → 2",)
    with load_checkpoint(old) as before, load_checkpoint(tmp_path / "new.ckpt") as after:
        assert after.record.versions == {"mlp": 1, "learner er": 2}
        assert after.record.metadata["converted_from"]["digest"] == before.digest
        learner, saved = after.state("learner"), before.state("learner")
        assert learner["draws"] == saved["drawn"] > 0
        assert differing(learner["buffer"], saved["buffer"]) == []
        assert yaml.safe_load(after.options_yaml)["learner"] == {"name": "er", "buffer_size": 30, "replayed": 7}
        assert options_of_today(after, SECOND["er"]) == after.options_yaml
        assert after.components == before.components
    assert convert(tmp_path / "new.ckpt", tmp_path / "again.ckpt", renew=renew).notes == (
        "nothing to upgrade: all its versions are those of today",
    )


def test_the_command_converts_what_the_learner_remembers(
    first: Path, tmp_path: Path, second: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["convert", str(in_copy(first, tmp_path)), "-o", str(tmp_path / "new.ckpt")])
    assert capsys.readouterr().out.startswith("learner er: version 1 → 2\n")


def test_an_old_file_is_laid_out_for_another_program(first: Path, tmp_path: Path, second: None) -> None:
    def drawn_again(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        options, state = renamed(options, state)
        state["buffer"]["seen"] = 77
        return options, state

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SECOND, "er", dataclasses.replace(SECOND["er"], upgrades={1: drawn_again}))
        with load_checkpoint(in_copy(first, tmp_path)) as checkpoint:
            tree, notes = laid_out(checkpoint)
    assert len(tree["buffer"]["examples"]) == 30
    assert any("the buffer has seen 77 examples" in note for note in notes)


def test_an_old_file_predicts_as_it_did(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    checkpoint = stopped(tmp_path, "icarl")
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    before = open_trained(checkpoint)
    assert before.predictor is not before.model
    request.getfixturevalue("second")
    after = open_trained(checkpoint)
    assert torch.equal(after.predictor(images), before.predictor(images))


@pytest.mark.parametrize("learner", ["er", "icarl"])
def test_a_newer_file_is_refused_with_what_to_install(first: Path, tmp_path: Path, learner: str) -> None:
    path = in_copy(first, tmp_path) if learner == "er" else stopped(tmp_path, learner)
    with load_checkpoint(path) as old:
        record = dataclasses.replace(old.record, versions={**old.record.versions, f"learner {learner}": 2})
        state: Any = {name: old.state(name) for name in old.components}
        save_checkpoint(tmp_path / "newer.ckpt", state, options_yaml=old.options_yaml, record=record)
    message = (
        f"could not read what the learner '{learner}' remembers in '{tmp_path / 'newer.ckpt'}': "
        r"expected version 1 to 1, found 2: install milepost >= \S+, which wrote it\."
    )
    with pytest.raises(UnsupportedVersionError, match=message):
        go_on(tmp_path, tmp_path / "newer.ckpt")
    with pytest.raises(UnsupportedVersionError, match=message):
        convert(tmp_path / "newer.ckpt", tmp_path / "new.ckpt", renew=renew)
    if learner == "icarl":
        with pytest.raises(UnsupportedVersionError, match=message):
            open_trained(tmp_path / "newer.ckpt")


def test_a_state_that_does_not_follow_its_version_is_refused(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: None
) -> None:
    checkpoint = in_copy(first, tmp_path)
    with_new_name(tmp_path)
    relabelled = dataclasses.replace(SECOND["er"], upgrades={1: lambda o, s: (renamed(o, dict(s))[0], s)})
    monkeypatch.setitem(SECOND, "er", relabelled)
    with pytest.raises(StateMismatchError, match=r"learner: KeyError: 'draws'\nCorrect the upgrade steps"):
        go_on(tmp_path, checkpoint)
    lost = dataclasses.replace(SECOND["er"], upgrades={1: lambda o, s: (o, s["lost"])})
    monkeypatch.setitem(SECOND, "er", lost)
    with pytest.raises(ArchiveError, match=r"from version 1 to 2: KeyError: 'lost'\. Use another file"):
        go_on(tmp_path, checkpoint)
