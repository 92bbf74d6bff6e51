"""A training state comes back whole, or what does not fit is listed."""

from pathlib import Path
from typing import Any

import pytest
import torch

import milepost.checkpoint
from milepost.archive import write_archive
from milepost.checkpoint import CheckpointRecord, Stateful, load_checkpoint, save_checkpoint
from milepost.checkpoint.record import manifest_keys, read_record
from milepost.errors import (
    ArchiveError,
    DamagedArchiveError,
    NotAnArchiveError,
    OverwriteError,
    StateMismatchError,
    UnsavableError,
    UnsupportedVersionError,
)

RECORD = CheckpointRecord(
    "run-1",
    step=12,
    epoch=3,
    task=1,
    parents=("blake3:" + "0" * 64,),
    metrics={"validation/loss": 0.25, "broken": float("inf")},
    metadata={"name": "é", "authors": ["A", "B"]},
    environment={"torch": "2.13.0"},
    versions={"cairn": 2},
    created="2026-01-01T00:00:00+00:00",
)


class Counter:
    """A Stateful of the caller's own."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state_dict: dict[str, int], /) -> None:
        self.value = state_dict["value"]


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, 3)
    return model, optimizer


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        inputs = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
        model(inputs).square().mean().backward()
        optimizer.step()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, optimizer = trained()
    path = tmp_path / "a.ckpt"
    save_checkpoint(
        path,
        {"model": model, "optimizer": optimizer, "loop": {"best": (1, 2)}, "counter": Counter(5)},
        options_yaml="seed: 1 # é\n",
        record=RECORD,
        source={"cairn/model.py": b"x = 1\n"},
    )
    return path


def test_everything_comes_back(saved: Path):
    with load_checkpoint(saved) as checkpoint:
        assert checkpoint.record == RECORD
        assert checkpoint.options_yaml == "seed: 1 # é\n"
        assert checkpoint.source == {"cairn/model.py": b"x = 1\n"}
        assert checkpoint.components == ("counter", "loop", "model", "optimizer")
        assert checkpoint.state("loop") == {"best": (1, 2)}
        assert checkpoint.tensor_table("model")[0].name == "1.num_batches_tracked"
        assert checkpoint.verify() == []
        assert checkpoint.path == saved


def test_the_digest_identifies_the_file(tmp_path: Path):
    digests = [
        save_checkpoint(tmp_path / name, {"x": tree}, options_yaml="", record=RECORD)
        for name, tree in (("a", [1]), ("b", [1]), ("c", [2]))
    ]
    assert digests[0] == digests[1] != digests[2]
    with load_checkpoint(tmp_path / "c") as checkpoint:
        assert checkpoint.digest == digests[2]


def test_training_goes_on_bit_for_bit_after_restoring(saved: Path):
    oracle, oracle_optimizer = trained()
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    with load_checkpoint(saved) as checkpoint:
        oracle.load_state_dict(checkpoint.state("model"))
        oracle_optimizer.load_state_dict(checkpoint.state("optimizer"))
        counter = Counter()
        checkpoint.restore({"model": model, "optimizer": optimizer, "counter": counter}, ignore={"loop"})
    assert counter.value == 5
    saved.unlink()
    train(model, optimizer, 3)
    train(oracle, oracle_optimizer, 3)
    for name, tensor in oracle.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_every_mismatch_is_listed_and_nothing_is_changed(saved: Path):
    class Grown(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("0", torch.nn.Linear(3, 5))
            self.add_module("1", torch.nn.BatchNorm1d(4, dtype=torch.float64))
            self.add_module("2", torch.nn.Linear(1, 1, bias=False))

    model, counter = Grown(), Counter(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with load_checkpoint(saved) as checkpoint, pytest.raises(StateMismatchError) as caught:
        checkpoint.restore({"model": model, "counter": counter, "ema": Counter()})
    text = str(caught.value)
    assert text.startswith(f"could not restore from '{saved}':\n")
    for problem in (
        "missing: the file has no component 'ema'",
        "unexpected: nothing takes the component 'loop'",
        "unexpected: nothing takes the component 'optimizer'",
        "model: missing: '2.weight'",
        "model: mismatched: '0.weight': expected float32 (5, 3), found float32 (4, 3)",
        "model: mismatched: '1.running_mean': expected float64 (4,), found float32 (4,)",
    ):
        assert f"\n  {problem}\n" in text
    assert counter.value == 1
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_an_unexpected_parameter_and_a_state_of_another_form_are_listed(saved: Path):
    with load_checkpoint(saved) as checkpoint:
        with pytest.raises(StateMismatchError, match=r"model: unexpected: '1\.weight'"):
            checkpoint.restore(
                {"model": torch.nn.Sequential(torch.nn.Linear(3, 4))}, ignore={"loop", "counter", "optimizer"}
            )
        with pytest.raises(StateMismatchError, match="counter: missing: 'weight'"):
            checkpoint.restore({"counter": torch.nn.Linear(1, 1)}, ignore={"loop", "model", "optimizer"})
    save_checkpoint(saved, {"m": [1]}, options_yaml="", record=RECORD, overwrite=True)
    with load_checkpoint(saved) as checkpoint:
        with pytest.raises(StateMismatchError, match="m: mismatched: expected a module's state by name, found list"):
            checkpoint.restore({"m": torch.nn.Linear(1, 1)})


def test_a_target_that_refuses_its_state_is_named(saved: Path):
    class Refusing(Counter):
        def load_state_dict(self, state_dict: dict[str, int], /) -> None:
            raise ValueError("not this one")

    with load_checkpoint(saved) as checkpoint:
        with pytest.raises(StateMismatchError, match="counter: ValueError: not this one"):
            checkpoint.restore({"counter": Refusing()}, ignore={"loop", "model", "optimizer"})


def test_an_optimizer_that_does_not_fit_is_listed_with_the_rest_and_nothing_is_changed(saved: Path):
    model, optimizer = torch.nn.Linear(3, 4), torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    with load_checkpoint(saved) as checkpoint, pytest.raises(StateMismatchError) as caught:
        checkpoint.restore({"model": model, "optimizer": optimizer, "counter": Counter()}, ignore={"loop"})
    text = str(caught.value)
    assert "\n  model: missing: 'weight'\n" in text
    assert "\n  optimizer: mismatched: group 0: expected 1 parameters, found 4\n" in text
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_name_to_ignore_that_is_no_components_is_refused(saved: Path):
    with load_checkpoint(saved) as checkpoint:
        with pytest.raises(StateMismatchError, match="ignored in vain: the file has no component 'lop'"):
            checkpoint.restore({"counter": Counter()}, ignore=["loop", "lop", "model", "optimizer"])


def test_a_value_that_cannot_be_saved_is_named_and_leaves_no_file(tmp_path: Path):
    with pytest.raises(UnsavableError, match=r"could not save 'loop\.when'"):
        save_checkpoint(tmp_path / "x", {"loop": {"when": object()}}, options_yaml="", record=RECORD)
    assert list(tmp_path.iterdir()) == []


def test_another_checkpoint_is_not_replaced_in_silence(saved: Path):
    with pytest.raises(OverwriteError):
        save_checkpoint(saved, {}, options_yaml="", record=RECORD)
    with load_checkpoint(saved) as checkpoint:
        assert checkpoint.record == RECORD


def test_a_damaged_tensor_stops_the_restore_before_anything_is_changed(saved: Path):
    content = bytearray(saved.read_bytes())
    with load_checkpoint(saved) as checkpoint:
        row = next(row for row in checkpoint.tensor_table("optimizer") if row.name == "state.1.exp_avg")
    with load_checkpoint(saved) as checkpoint:
        value = checkpoint.state("optimizer")["state"][1]["exp_avg"]
    at = content.index(value.numpy().tobytes())
    content[at] ^= 1
    saved.write_bytes(content)
    counter = Counter()
    with (
        load_checkpoint(saved) as checkpoint,
        pytest.raises(DamagedArchiveError, match=f"tensor '{row.name}'"),
    ):
        checkpoint.restore({"counter": counter, "optimizer": trained()[1]}, ignore={"loop", "model"})
    assert counter.value == 0


def test_another_kind_of_archive_is_refused(tmp_path: Path):
    write_archive(tmp_path / "x", kind="package", components={})
    with pytest.raises(NotAnArchiveError, match="as a checkpoint: expected kind 'checkpoint', found 'package'"):
        load_checkpoint(tmp_path / "x")


GOOD = manifest_keys(RECORD)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run_id": 1}, "run_id: expected str, found 1"),
        ({"step": "2"}, "step: expected int, found '2'"),
        ({"epoch": True}, "epoch: expected int, found True"),
        ({"metrics": []}, r"metrics: expected an object, found \[\]"),
        ({"metrics": {"loss": "low"}}, r"metrics\.loss: expected a number, found 'low'"),
        ({"versions": {"training_state": 1, "x": 1.5}}, r"versions\.x: expected an integer, found 1\.5"),
        ({"versions": {}}, r"expected versions\.training_state, found None"),
        ({"parents": [1]}, r"parents: expected a list of digests, found \[1\]"),
        ({"step": "2", "task": None}, r"step: .*; task: expected int, found None"),
    ],
)
def test_a_manifest_that_is_no_checkpoints_is_refused(tmp_path: Path, change: dict[str, Any], reason: str):
    write_archive(tmp_path / "x", kind="checkpoint", components={}, manifest=GOOD | change)
    with pytest.raises(ArchiveError, match=f"could not load '{tmp_path}/x' as a checkpoint: .*{reason}"):
        load_checkpoint(tmp_path / "x")


def test_a_newer_training_state_says_what_to_install(tmp_path: Path):
    keys = GOOD | {"versions": {"training_state": 2}}
    write_archive(tmp_path / "x", kind="checkpoint", components={}, manifest=keys)
    with pytest.raises(UnsupportedVersionError, match="has version 2, expected at most 1: install milepost >= "):
        load_checkpoint(tmp_path / "x")


def test_keys_of_later_writers_are_ignored():
    assert read_record(GOOD | {"later": 1}) == RECORD


def test_a_record_has_a_time_by_default():
    assert CheckpointRecord("r", 1).created.endswith("+00:00")


def test_statefuls_are_recognised_by_their_two_methods():
    assert isinstance(Counter(), Stateful)
    assert isinstance(torch.nn.Linear(1, 1), Stateful)
    assert not isinstance({"state_dict": 1}, Stateful)
    assert not isinstance(torch.ones(1), Stateful)


def test_public_names():
    assert sorted(milepost.checkpoint.__all__) == milepost.checkpoint.__all__
    assert all(hasattr(milepost.checkpoint, name) for name in milepost.checkpoint.__all__)


def test_a_module_in_the_place_of_the_components_is_told_where_to_go(tmp_path: Path):
    with pytest.raises(UnsavableError) as caught:
        save_checkpoint(tmp_path / "x", torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "could not save the checkpoint: expected a mapping of components by name, found "
        'torch.nn.modules.linear.Linear. Name it, as {"model": model}.'
    )
    with pytest.raises(ValueError, match="expected durability 'power' or 'process', found 'none'"):
        save_checkpoint(tmp_path / "x", {"model": 1}, durability="none")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
