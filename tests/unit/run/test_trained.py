"""A checkpoint's model opens alone; a newer one is refused with what to do."""

import dataclasses

import pytest
import torch

from lifecycle.runs import OPTIONS, write_run
from lifecycle.test_diverging import Quiet, request
from milepost.atoms.cairn import ARCHITECTURE
from milepost.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from milepost.errors import NotAnArchiveError, ResumeError, UnknownArchitectureError, UnsupportedVersionError
from milepost.model import Component
from milepost.run import open_trained, train, trained
from milepost.run.resume import check_version


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, OPTIONS.replace("epochs: 6", "epochs: 1"))
    train(request(folder), Quiet())
    (folder / "frames.xyz").unlink()
    return folder / "model.ckpt"


def test_it_opens_under_another_name_without_data(model, tmp_path):
    moved = model.rename(tmp_path / "anything.bin")
    opened = open_trained(moved)
    moved.rename(model)
    assert opened.architecture.name == "cairn"
    assert opened.facts["atomic_numbers"] == [1, 6, 8]
    assert not opened.model.training
    assert not any(p.requires_grad for p in opened.model.parameters())


@pytest.mark.parametrize("options", ["", "- 1\n", "architecture: 3\n", "architecture: {}\n"])
def test_a_checkpoint_that_names_no_architecture_is_refused(tmp_path, options):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": {"w": torch.ones(2)}}, options_yaml=options)
    with pytest.raises(UnknownArchitectureError) as caught:
        open_trained(path)
    assert str(caught.value) == (
        f"could not open the model in '{path}': expected options that name its architecture, found none: "
        "milepost did not train it. Load its weights into your module with milepost.checkpoint.load_weights."
    )


def test_the_averaged_weights_are_what_opens(model):
    from milepost.checkpoint import load_checkpoint

    with load_checkpoint(model) as checkpoint:
        average, raw = checkpoint.state("ema"), checkpoint.state("model")
    opened = open_trained(model).model.state_dict()
    assert all(torch.equal(opened[name], value) for name, value in average.items())
    assert not all(torch.equal(opened[name], value) for name, value in raw.items())


def test_an_older_version_is_upgraded_in_options_and_tensors(model, monkeypatch):
    def step(options, tensors):
        assert options["features"] == 8
        return options, {name: value * 2 if name == "network.embedding" else value for name, value in tensors.items()}

    now = open_trained(model).model.state_dict()["network.embedding"]
    second = dataclasses.replace(ARCHITECTURE, version=2, upgrades={1: step})
    monkeypatch.setattr(trained, "find_architecture", lambda name: second)
    assert torch.equal(open_trained(model).model.state_dict()["network.embedding"], now * 2)


def test_a_newer_version_is_refused(model, monkeypatch):
    monkeypatch.setattr(trained, "find_architecture", lambda name: ARCHITECTURE)
    original = CheckpointRecord.__getattribute__

    def newer(self, name):
        return {"cairn": 9} if name == "versions" else original(self, name)

    monkeypatch.setattr(CheckpointRecord, "__getattribute__", newer)
    with pytest.raises(UnsupportedVersionError, match=r"expected version 1 to 1, found 9: install milepost >= \d"):
        open_trained(model)
    with (
        load_checkpoint(model) as checkpoint,
        pytest.raises(ResumeError, match="version 1, found version 9: install mil"),
    ):
        check_version(checkpoint, ARCHITECTURE)


def test_what_to_install_is_the_package_that_brings_the_architecture(model):
    other = dataclasses.replace(ARCHITECTURE, build=Component("otherlib.model", "build"))
    with load_checkpoint(model) as checkpoint:
        assert trained.what_to_install(checkpoint, other) == "install a newer version of the package 'otherlib'"
        assert trained.what_to_install(checkpoint, ARCHITECTURE).startswith("install milepost >= ")


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_text("hello")
    with pytest.raises(NotAnArchiveError):
        open_trained(path)
