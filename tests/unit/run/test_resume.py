"""Two runs are one experiment where their options say so, whatever the version that reads them."""

from pathlib import Path

import pytest
from pydantic import Field

from milepost.errors import ResumeError
from milepost.model import find_architecture
from milepost.options import RootOptions, load_options
from milepost.run.resume import find_start, identity

LEAST = "{architecture: {name: cairn}, training_set: frames.xyz}"


def options(*overrides: str) -> RootOptions:
    return load_options(None, find_architecture("cairn").options_class(), overrides, text=LEAST)


@pytest.mark.parametrize(
    "override",
    [
        "device=cpu",
        "architecture.training.epochs=7",
        "architecture.training.compile=false",
        "checkpoints.keep_last=9",
        "seed=0",
        "architecture.training.optimizer.learning_rate=0.01",
    ],
)
def test_what_may_change_and_what_is_the_default_make_no_other_experiment(override):
    assert identity(options(override)) == identity(options())


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "architecture.model.layers=3",
        "training_set.systems.read_from=other.xyz",
        "validation_set=0.2",
        "validation_set=other.xyz",
        "architecture.training.finetune.read_from=a.ckpt",
        "architecture.training.optimizer.arguments.eps=1e-7",
    ],
)
def test_what_may_not_change_and_where_it_starts_from_make_another_experiment(override):
    assert identity(options(override)) != identity(options())


def test_an_option_that_a_later_version_adds_makes_no_other_experiment():
    class Later(RootOptions):
        added: int = Field(default=1, description="new")

    text = "{seed: 4, architecture: {name: cairn}}"
    before, after = (load_options(None, model, text=text) for model in (RootOptions, Later))
    assert identity(before) == identity(after)
    assert identity(load_options(None, Later, ["added=2"], text=text)) != identity(after)


def test_a_directory_is_no_checkpoint_and_one_of_its_files_is_named(tmp_path: Path) -> None:
    options = load_options(None, RootOptions, text="architecture: {name: cairn}")
    with pytest.raises(ResumeError, match=r"found a directory\. `milepost runs` lists runs"):
        find_start(tmp_path, options, str(tmp_path), tmp_path / "model.ckpt")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000005.ckpt").touch()
    with pytest.raises(ResumeError, match=r"Give one of its files, as '.*checkpoints/step-00000005.ckpt'"):
        find_start(tmp_path, options, str(tmp_path), tmp_path / "model.ckpt")
