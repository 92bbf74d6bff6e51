"""What options ask for and this machine or architecture can't do is said before a run begins."""

from typing import Any

import pytest
import torch

from frames import options
from lifecycle import toy
from milepost.options import load_options
from milepost.run.checking import training_objections

TEXT = """
architecture: {name: cairn}
training_set: {systems: a.xyz}
"""
STOPPING = "architecture.training.early_stopping.monitor"


def objections(*overrides: str) -> dict[str, str]:
    return {found.key: found.text for found in training_objections(options(TEXT, *overrides))}


def test_nothing_is_said_against_defaults() -> None:
    assert objections() == {}


def test_everything_is_said_at_once() -> None:
    found = objections(
        "architecture.training.optimizer.name=Adamm",
        "checkpoints.monitor=validation/forses_rmse",
        f"{STOPPING}=energy",
        "device=xpu:7",
    )
    assert list(found) == ["device", "architecture.training.optimizer.name", "checkpoints.monitor", STOPPING]
    assert found["checkpoints.monitor"] == (
        "expected one of training/loss, training/energy, training/forces, validation/loss, validation/energy_rmse, "
        "validation/energy_mae, validation/forces_rmse, validation/forces_mae, found 'validation/forses_rmse'; "
        "did you mean 'validation/forces_rmse'?"
    )
    assert found[STOPPING].endswith("found 'energy'; did you mean 'training/energy'?")


@pytest.mark.parametrize("name", ["er-ace", "gdumb", "icarl"])
def test_a_potential_learns_with_no_learner_that_needs_classes(name: str) -> None:
    assert objections(f"learner.name={name}")["learner.name"] == (
        "expected a learner that needs no more than outputs that can be kept and compared with, which is what 'atoms' "
        f"has, found '{name}', which needs classes"
    )


@pytest.mark.parametrize("name", ["finetune", "joint", "oewc", "si", "lwf", "er", "agem", "gem", "der", "derpp"])
def test_a_potential_learns_with_the_others(name: str) -> None:
    assert objections(f"learner.name={name}") == {}


@pytest.mark.parametrize("name", ["training/stress", "validation/stress_rmse", "validation/stress_mae"])
def test_stress_is_watched_only_where_it_is_learned(name: str) -> None:
    assert f"found '{name}'" in objections(f"checkpoints.monitor={name}")["checkpoints.monitor"]
    assert objections(f"checkpoints.monitor={name}", "training_set.targets.energy.stress=true") == {}


def test_the_validation_set_may_have_other_targets() -> None:
    own = "validation_set={systems: b.xyz, targets: {energy: {forces: false, stress: true}}}"
    assert objections(own, "checkpoints.monitor=validation/stress_mae") == {}
    assert objections(own, "checkpoints.monitor=training/forces") == {}
    assert set(objections(own, "checkpoints.monitor=validation/forces_mae")) == {"checkpoints.monitor"}
    frames = "validation_set={indices: [1], targets: {energy: {forces: false}}}"
    assert objections(frames, "checkpoints.monitor=validation/forces_mae") == {}


def test_a_step_is_compiled_only_where_there_is_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    demanded = ("architecture.training.compile=true", "device=cpu")
    monkeypatch.setattr("milepost.run.checking.compiler_present", lambda: True)
    assert objections(*demanded) == {}
    monkeypatch.setattr("milepost.run.checking.compiler_present", lambda: False)
    assert objections(*demanded) == {
        "architecture.training.compile": "expected 'auto' or false on a machine without a C++ compiler "
        "(g++, or what CXX names), found true"
    }
    assert objections() == {}
    assert list(objections(demanded[0], "device=xpu:7")) == ["device"]


@pytest.fixture
def toy_objections(tmp_path):
    """Return what is said against options of the toy domain, which has no objections of its own."""

    def found(**root: Any) -> dict[str, str]:
        toy.write_options(tmp_path, **root)
        given = load_options(tmp_path / "options.yaml", toy.ARCHITECTURE.options_class())
        return {objection.key: objection.text for objection in training_objections(given)}

    with toy.installed(tmp_path / "site"):
        yield found


MIXED = "architecture.training.mixed_precision"


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_mixed_precision_is_for_weights_of_32_bits(toy_objections, name: str) -> None:
    assert toy_objections(training={"mixed_precision": name}) == {}
    assert toy_objections(base_precision=64) == {}
    text = f"expected null with weights of 64 bits: only 32 mix with 16, found '{name}'"
    assert toy_objections(training={"mixed_precision": name}, base_precision=64) == {MIXED: text}


def test_mixed_precision_needs_a_device_that_knows_it(toy_objections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    text = "expected null on 'cpu', found 'float16'"
    assert toy_objections(training={"mixed_precision": "float16"}) == {MIXED: text}


def test_a_domain_has_objections_of_its_own() -> None:
    assert objections(f"{MIXED}=bfloat16")[MIXED].startswith("expected null, because forces are derivatives")


def test_a_learner_that_predicts_with_its_memory_needs_a_domain_that_can_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("milepost.atoms.domain.AtomsDomain.gives", "classes")
    assert objections("learner={name: icarl}") == {
        "learner.name": "expected a learner that predicts with the model itself, found 'icarl', which does with its "
        "memory"
    }
    assert "learner.name" not in objections("learner={name: er}")


def test_no_process_makes_batches_for_an_accelerator(toy_objections, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy_objections(training={"loader_workers": 2}) == {}
    monkeypatch.setattr("milepost.run.checking.choose_device", lambda name: torch.device("meta"))
    text = "expected 0 on 'meta', where batches are cut out of data on the device, found 2"
    assert toy_objections(training={"loader_workers": 2})["architecture.training.loader_workers"] == text
