"""Old checkpoints become ones of today; weights go to other programs and come from them; nothing is replaced."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import tiny
from milepost.archive import Archive, write_archive
from milepost.atoms.cairn import ARCHITECTURE
from milepost.checkpoint import CheckpointRecord, converting, load_checkpoint, renewing, save_checkpoint
from milepost.checkpoint.converting import Arrangement, convert
from milepost.checkpoint.record import manifest_keys
from milepost.errors import (
    ConversionError,
    DamagedArchiveError,
    NotAnArchiveError,
    OverwriteError,
    UnknownArchitectureError,
    UnsupportedVersionError,
)
from milepost.model import Architecture

OPTIONS = """
architecture:
  name: cairn
  model: {cutoff: 4.0, features: 8}
training_set: structures.xyz
"""
WEIGHT, AVERAGE = torch.arange(6.0).reshape(2, 3), torch.ones(2, 3)


def save(path: Path, options: str = OPTIONS, **more: Any) -> Path:
    record = CheckpointRecord("run", step=4, metadata={"name": "é"}, versions={"cairn": 1, "other": 3})
    state = {"model": {"w": WEIGHT}, "ema": {"w": AVERAGE}, "optimizer": {"m": torch.ones(2)}, "loop": {"n": 3}, **more}
    save_checkpoint(path, state, options_yaml=options, record=record, source={"m.py": b"x = 1\n"}, durability="process")
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Save a checkpoint of the first version of an architecture."""
    return save(tmp_path / "old.ckpt")


def renaming(options: dict[str, Any], tensors: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rename a tensor and change an option, in place: it is given copies."""
    tensors["weight"] = tensors.pop("w")
    options["layers"] = 3
    return options, tensors


def relabeling(options: dict[str, Any], tensors: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {**options, "layers": 3}, tensors


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install an architecture of version 2, which `step` leads to."""

    def put(step: Any) -> None:
        newer = Architecture(**{**vars(ARCHITECTURE), "version": 2, "upgrades": {1: step}})
        monkeypatch.setattr(renewing, "find_architecture", lambda name: {"cairn": newer}[name])

    return put


def test_an_old_checkpoint_becomes_one_of_today(old: Path, tmp_path: Path, install) -> None:
    install(renaming)
    target = tmp_path / "new.ckpt"
    done = convert(old, target)
    assert (done.kind, done.form, done.tensors) == ("checkpoint", "checkpoint", 2)
    assert done.notes == (
        "cairn: version 1 → 2",
        "left out: the component 'optimizer', whose state belongs to the tensors of version 1: "
        "fine-tune from the new file, or continue with the version that wrote the old one",
    )
    with load_checkpoint(old) as before, load_checkpoint(target) as after:
        assert after.record.versions == {"cairn": 2, "other": 3}
        assert after.record.metadata == {
            "name": "é",
            "converted_from": {"kind": "checkpoint", "digest": before.digest},
        }
        assert (after.record.step, after.record.created) == (4, before.record.created)
        assert after.components == ("ema", "loop", "model")
        assert torch.equal(after.state("model")["weight"], WEIGHT)
        assert torch.equal(after.state("ema")["weight"], AVERAGE)
        assert after.state("loop") == {"n": 3}
        options = yaml.safe_load(after.options_yaml)
        assert options["architecture"]["model"]["layers"] == 3
        assert options["architecture"]["model"]["features"] == 8
        assert after.source == before.source


def test_an_upgrade_that_leaves_the_tensors_alone_keeps_the_optimizer(old: Path, tmp_path: Path, install) -> None:
    install(relabeling)
    done = convert(old, tmp_path / "new.ckpt")
    assert done.notes == ("cairn: version 1 → 2",)
    with load_checkpoint(tmp_path / "new.ckpt") as after:
        assert "optimizer" in after.components


def test_a_checkpoint_of_today_stays_the_same_to_the_last_byte(old: Path, tmp_path: Path) -> None:
    done = convert(old, tmp_path / "new.ckpt")
    assert done.notes == ("nothing to upgrade: all its versions are those of today",)
    assert done.tensors == 3
    assert (tmp_path / "new.ckpt").read_bytes() == old.read_bytes()


def test_keys_and_files_of_others_stay(tmp_path: Path) -> None:
    keys = {**manifest_keys(CheckpointRecord("run")), "theirs": {"x": [1]}}
    files = {"options.yaml": b"", "notes/a.txt": b"hello"}
    write_archive(tmp_path / "a.ckpt", kind="checkpoint", components={"x": [1]}, files=files, manifest=keys)
    convert(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    with Archive.open(tmp_path / "b.ckpt") as archive:
        assert archive.manifest.extra["theirs"] == {"x": [1]}
        assert archive.file("notes/a.txt") == b"hello"


@pytest.mark.parametrize("options", ["", "a: [", "- 1\n", "architecture: 3\n", "architecture: {name: mine}\n"])
def test_a_checkpoint_of_no_architecture_has_none_to_upgrade(tmp_path: Path, options: str) -> None:
    done = convert(save(tmp_path / "a.ckpt", options), tmp_path / "b.ckpt")
    assert done.notes == ("nothing to upgrade: all its versions are those of today",)


def test_a_model_that_was_trained_here(tmp_path: Path) -> None:
    """What `milepost train` writes is converted and still computes."""
    from milepost.run import open_trained

    convert(tiny.checkpoint(), tmp_path / "new.ckpt")
    one, other = open_trained(tiny.checkpoint()), open_trained(tmp_path / "new.ckpt")
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", "architecture: {name: other}\n")
    with pytest.raises(UnknownArchitectureError, match="no architecture 'other' is installed"):
        convert(path, tmp_path / "b.ckpt")


def test_a_version_that_is_too_new_is_refused(tmp_path: Path) -> None:
    record = CheckpointRecord(versions={"cairn": 9})
    save_checkpoint(tmp_path / "a.ckpt", {"model": {"w": WEIGHT}}, options_yaml=OPTIONS, record=record)
    with pytest.raises(UnsupportedVersionError, match="expected version 1 to 1, found 9"):
        convert(tmp_path / "a.ckpt", tmp_path / "b.ckpt")


@pytest.mark.parametrize(
    ("choice", "expected", "origin"),
    [(None, AVERAGE, "ema"), ("average", AVERAGE, "ema"), ("raw", WEIGHT, "model")],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_for_other_programs(old: Path, tmp_path: Path, choice, expected, origin: str, suffix: str) -> None:
    target = tmp_path / f"w{suffix}"
    done = convert(old, target, weights=choice)
    assert done.notes == (f"weights: component '{origin}'",)
    assert done.tensors == 1
    load = safetensors.torch.load_file if suffix == ".safetensors" else torch.load
    found = load(target)
    assert found.keys() == {"w"}
    assert torch.equal(found["w"], expected)


def test_what_is_not_written_is_said(tmp_path: Path) -> None:
    shared = torch.ones(2)
    path = save(tmp_path / "a.ckpt", ema={"b": shared, "a": shared, "extra": 1})
    done = convert(path, tmp_path / "a.safetensors")
    assert done.notes == (
        "weights: component 'ema'",
        "left out of component 'ema': 'extra', which is no tensor",
        "tied tensors are stored once (b is a): load them with safetensors.torch.load_model",
    )
    assert done.form == "weights, as safetensors"
    assert convert(path, tmp_path / "a.pt").notes == (
        "weights: component 'ema'",
        "left out of component 'ema': 'extra', which is no tensor",
    )


def lightning(path: Path) -> Path:
    """Save what a Lightning trainer saves, by hand."""
    moment = {"state": {0: {"exp_avg": torch.full((2, 3), 0.5)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {
        "epoch": 2,
        "global_step": 30,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {"net.w": WEIGHT, "net.v": AVERAGE},
        "loops": {},
        "callbacks": {},
        "optimizer_states": [moment],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    return path


def test_weights_from_another_program(tmp_path: Path) -> None:
    done = convert(lightning(tmp_path / "theirs.ckpt"), tmp_path / "w.safetensors")
    assert done.kind == "lightning checkpoint"
    assert done.notes == (
        "weights: 'state_dict' of a lightning checkpoint",
        "left out, elsewhere in the file: 'optimizer_states.0.state.0.exp_avg'",
    )
    found = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert found.keys() == {"net.w", "net.v"}
    assert torch.equal(found["net.w"], WEIGHT)


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    source = lightning(tmp_path / "theirs.ckpt")
    done = convert(source, tmp_path / "ours.ckpt")
    assert done.notes == (
        "component 'model': 2 tensors",
        "component 'other': 1 tensor",
        "left out, elsewhere in the file: 'optimizer_states.0.param_groups', a list",
    )
    assert done.tensors == 3
    with load_checkpoint(tmp_path / "ours.ckpt") as checkpoint:
        assert (checkpoint.record.step, checkpoint.record.epoch, checkpoint.record.run_id) == (30, 2, "")
        origin = checkpoint.record.metadata["converted_from"]
        assert origin["kind"] == "lightning checkpoint"
        assert origin["digest"].startswith("blake3:")
        assert checkpoint.record.metadata["foreign"]["epoch"] == 2
        assert torch.equal(checkpoint.state("model")["net.w"], WEIGHT)
        assert checkpoint.state("other")["optimizer_states.0.state.0.exp_avg"].tolist() == [[0.5] * 3] * 2


class Net(torch.nn.Module):
    """A module of a class that no reader knows, with all that a module can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.tied = self.layers[0]
        self.register_buffer("kept", torch.tensor(1.0))
        self.register_buffer("transient", torch.tensor(2.0), persistent=False)
        self.register_parameter("absent", None)
        self.attribute = torch.tensor(3.0)


def test_a_module_that_was_pickled_whole(tmp_path: Path) -> None:
    net = Net()
    name = f"{Net.__module__}.Net"
    torch.save(net, tmp_path / "whole.pt")
    done = convert(tmp_path / "whole.pt", tmp_path / "w.pt")
    assert done.notes == (
        f"weights: all of a torch file, a pickled {name}",
        "left out, elsewhere in the file: 'state._buffers.transient' and 1 more",
    )
    found = torch.load(tmp_path / "w.pt", weights_only=True)
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    Net().load_state_dict(found)


def test_a_module_in_a_dict_that_keeps_compiled_code(tmp_path: Path) -> None:
    net = Net()
    net.layers.compiled = {"code": [b"program"]}
    torch.save({"model": net, "moment": AVERAGE}, tmp_path / "a.pt")
    done = convert(tmp_path / "a.pt", tmp_path / "a.ckpt")
    left_out = f"left out of 'model' of a torch file, a pickled {Net.__module__}.Net: what 'layers' keeps as bytes"
    assert done.notes == ("component 'model': 8 tensors", "component 'other': 3 tensors", left_out)
    with load_checkpoint(tmp_path / "a.ckpt") as checkpoint:
        assert set(checkpoint.state("model")) == set(net.state_dict())
        assert torch.equal(checkpoint.state("other")["moment"], AVERAGE)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
@pytest.mark.filterwarnings("ignore:.*(sparse|quantiz|TypedStorage).*")
def test_tensors_that_are_stored_in_parts_are_refused_as_weights_and_named_elsewhere(
    tmp_path: Path, suffix: str
) -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    source, target = tmp_path / "theirs.pt", tmp_path / f"ours{suffix}"
    for weights in (quantized, torch.eye(2).to_sparse()):
        torch.save({"state_dict": {"w": WEIGHT, "q": weights}}, source)
        with pytest.raises(ConversionError, match=r"found 'state_dict\.q', a \w+ tensor\. Save the file again"):
            convert(source, target)
        assert not target.exists()
    torch.save({"state_dict": {"w": WEIGHT}, "best": {"q": quantized}}, source)
    done = convert(source, target)
    note = "left out, elsewhere in the file: 'best.q', a quantized tensor: dequantize it before it is saved"
    assert (done.tensors, done.notes[-1]) == (1, note)


def test_what_a_checkpoint_has_no_place_for_is_named(tmp_path: Path) -> None:
    content = {"": WEIGHT, "step": 3, "labels": {"a", "b"}, "array": np.ones(2, ">f4"), "config": {"lr": 0.1}, "no": {}}
    torch.save(content, tmp_path / "theirs.pt")
    place = "left out of all of a torch file: "
    assert convert(tmp_path / "theirs.pt", tmp_path / "ours.ckpt").notes == (
        "component 'model': 1 tensor",
        f"{place}'array', an array of numpy in a type or byte order that is not read: save it as a tensor",
        f"{place}'labels', a set; 'config', a dict",
        f"{place}the name of 'tensor', which is empty or another tensor's",
    )
    with load_checkpoint(tmp_path / "ours.ckpt") as checkpoint:
        assert checkpoint.record.metadata["foreign"] == {"step": 3}
    assert "'step', a number; 'labels', a set" in convert(tmp_path / "theirs.pt", tmp_path / "a.pt").notes[2]


def test_a_plug_in_lays_out_its_program_s_files(tmp_path: Path) -> None:
    source = lightning(tmp_path / "theirs.ckpt")
    laid_out = {"lightning checkpoint": lambda found: Arrangement({"all": found.tree()}, {"theirs": 2}, "a: 1\n")}
    done = convert(source, tmp_path / "ours.ckpt", arrange=laid_out)
    assert done.notes == ("component 'all': 3 tensors",)
    with load_checkpoint(tmp_path / "ours.ckpt") as checkpoint:
        assert checkpoint.record.versions == {"theirs": 2}
        assert checkpoint.options_yaml == "a: 1\n"
        assert torch.equal(checkpoint.state("all")["state_dict"]["net.w"], WEIGHT)
    with pytest.raises(ConversionError, match="expected all of its components to stay, found a choice"):
        convert(source, tmp_path / "b.ckpt", weights="raw", arrange=laid_out)
    absent = {"lightning checkpoint": lambda found: None, "mammoth checkpoint": lambda found: 1 / 0}
    assert convert(source, tmp_path / "c.ckpt", arrange=absent).tensors == 3


def test_there_and_back(old: Path, tmp_path: Path) -> None:
    shared = torch.ones(2)
    path = save(tmp_path / "a.ckpt", ema={"b": shared, "a": shared, "c": WEIGHT})
    for suffix in (".safetensors", ".pt"):
        convert(path, tmp_path / f"w{suffix}")
        done = convert(tmp_path / f"w{suffix}", tmp_path / f"back{suffix}.ckpt")
        with load_checkpoint(tmp_path / f"back{suffix}.ckpt") as checkpoint:
            model = checkpoint.state("model")
        assert sorted(model) == ["a", "b", "c"], done
        assert model["a"] is model["b"]
        assert torch.equal(model["c"], WEIGHT)


def test_nothing_is_replaced(old: Path, tmp_path: Path) -> None:
    for target in (old, tmp_path / "link.pt"):
        if target is not old:
            target.symlink_to("nowhere")
        with pytest.raises(OverwriteError) as caught:
            convert(old, target)
        assert str(caught.value) == (
            f"could not convert to '{target}': expected a free name, found a file. Nothing is ever replaced: "
            "choose another name."
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "b.bin",
            "could not convert to '{0}/b.bin': expected a name that ends in .safetensors, .pt, .ckpt, found '.bin'. "
            "The ending chooses what is written.",
        ),
        (
            "pt",
            "could not convert to '{0}/pt': expected a name that ends in .safetensors, .pt, .ckpt, found 'pt'. "
            "The ending chooses what is written.",
        ),
        (
            "none/b.pt",
            "could not convert to '{0}/none/b.pt': expected the folder '{0}/none', found none. Create it first.",
        ),
    ],
)
def test_targets_that_cannot_be(old: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(old, tmp_path / name)
    assert str(caught.value) == message.format(tmp_path)


def test_a_choice_of_weights_is_none_for_a_checkpoint(old: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(old, tmp_path / "b.ckpt", weights="raw")
    assert str(caught.value) == (
        f"could not convert '{old}' to a checkpoint of its raw weights: expected all of its components to stay, "
        "found a choice. Convert to .safetensors or .pt, or leave the choice away."
    )


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(NotAnArchiveError) as caught:
        convert(tmp_path / "a.txt", tmp_path / "b.pt")
    assert str(caught.value) == (
        f"could not convert '{tmp_path / 'a.txt'}': expected a checkpoint or a file of weights, found something else. "
        "`milepost show` says what it is."
    )
    write_archive(tmp_path / "a.zip", kind="package", components={})
    with pytest.raises(NotAnArchiveError, match="expected kind 'checkpoint', found 'package'"):
        convert(tmp_path / "a.zip", tmp_path / "b.pt")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.ckpt", tmp_path / "b.pt")


def test_a_damaged_source_leaves_nothing(old: Path, tmp_path: Path) -> None:
    content = bytearray(old.read_bytes())
    content[content.index(AVERAGE.numpy().tobytes())] ^= 1
    old.write_bytes(content)
    for name in ("b.ckpt", "b.pt", "b.safetensors"):
        with pytest.raises(DamagedArchiveError, match=r"ema.safetensors, tensor 'w'"):
            convert(old, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.ckpt"]


def test_a_checkpoint_that_is_read_back_otherwise_leaves_nothing(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(target: Path, *, components: dict[str, Any], **keywords: Any) -> None:
        write_archive(target, components={**components, "loop": {"n": 4}}, **keywords)

    monkeypatch.setattr(converting, "write_archive", wrong)
    with pytest.raises(ConversionError) as caught:
        convert(old, tmp_path / "b.ckpt")
    assert str(caught.value) == (
        f"could not convert to '{tmp_path / 'b.ckpt'}': 'loop.n' was not read back as it was written. "
        "Nothing is left under that name; check the disk, then convert again."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["old.ckpt"]


def test_a_checkpoint_that_is_replaced_meanwhile_is_noticed(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save(tmp_path / "other.ckpt", more={"x": 1})
    load = load_checkpoint

    def replacing(path: Path) -> Any:
        opened = load(path)
        other.replace(old)
        return opened

    monkeypatch.setattr(converting, "load_checkpoint", replacing)
    with pytest.raises(DamagedArchiveError) as caught:
        convert(old, tmp_path / "b.ckpt")
    assert str(caught.value) == f"could not convert '{old}': it was replaced while it was read. Convert it again."


def test_names_are_listed_shortly() -> None:
    assert converting._listed(("a", "b", "c")) == "'a' and 2 more"


def test_a_folder_has_no_digest(tmp_path: Path) -> None:
    assert converting._digest(tmp_path) == {}


def test_a_file_of_another_program_that_counts_nothing_is_at_step_0(tmp_path: Path) -> None:
    torch.save({"w": WEIGHT}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "b.ckpt")
    with load_checkpoint(tmp_path / "b.ckpt") as checkpoint:
        assert (checkpoint.record.step, checkpoint.record.epoch) == (0, 0)
        assert json.dumps(dict(checkpoint.record.metadata["foreign"]))
