"""Fine-tuning starts from any checkpoint, records it by digest, and never needs it again."""

import ase.io
import pytest

from lifecycle.runs import OPTIONS, differing, training_state, write_data, write_run
from lifecycle.test_diverging import Quiet, request
from milepost.checkpoint import load_checkpoint
from milepost.errors import DataError
from milepost.run import open_trained, train

SHORT = OPTIONS.replace("epochs: 6", "epochs: 1")


@pytest.fixture
def ancestor(tmp_path):
    folder = tmp_path / "ancestor"
    folder.mkdir()
    write_run(folder, SHORT)
    train(request(folder), Quiet())
    return folder / "model.ckpt"


def test_weights_come_from_the_ancestor_and_its_digest_is_kept(tmp_path, ancestor):
    folder = tmp_path / "tuned"
    folder.mkdir()
    write_run(folder, SHORT)
    write_data(folder, seed=5)
    still = ("architecture.training.optimizer.learning_rate=1e-30", "architecture.training.optimizer.name=SGD",
             "architecture.training.optimizer.arguments={}")  # fmt: skip
    train(request(folder, f"architecture.training.finetune.read_from={ancestor}", *still), Quiet())
    old = open_trained(ancestor)
    ancestor.unlink()
    with load_checkpoint(folder / "model.ckpt") as checkpoint:
        assert checkpoint.record.parents == (old.digest,)
    new = open_trained(folder / "model.ckpt")
    for name, value in old.model.state_dict().items():
        if name != "references":
            assert new.model.state_dict()[name].allclose(value, atol=1e-6), name


def test_a_stopped_fine_tuning_continues_without_its_ancestor(tmp_path, ancestor):
    from lifecycle.test_resuming import run

    finetune = (f"architecture.training.finetune.read_from={ancestor}",)
    for name in ("alone", "stopped"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, SHORT)
    run(tmp_path / "alone", overrides=finetune, restart=None)
    run(tmp_path / "stopped", overrides=finetune, stop=2)
    ancestor.unlink()
    run(tmp_path / "stopped", overrides=finetune)
    states = [training_state(tmp_path / name / "model.ckpt") for name in ("alone", "stopped")]
    assert differing(*states) == []


def test_new_species_are_refused_unless_asked_for(tmp_path, ancestor):
    folder = tmp_path / "tuned"
    folder.mkdir()
    write_run(folder, SHORT)
    frames = ase.io.read(folder / "frames.xyz", ":")
    for frame in frames[::2]:
        frame.numbers[0] = 9
    ase.io.write(folder / "frames.xyz", frames, format="extxyz")
    read_from = f"architecture.training.finetune.read_from={ancestor}"
    with pytest.raises(DataError, match=r"frames\.xyz, frame \d+, field 'species': expected only H C O, found F"):
        train(request(folder, read_from), Quiet())
    train(request(folder, read_from, "architecture.training.finetune.new_species=true"), Quiet())
    assert open_trained(folder / "model.ckpt").facts["atomic_numbers"] == [1, 6, 8, 9]
