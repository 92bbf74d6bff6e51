"""Files that other packages wrote, stored here because the packages are no part of the tests' environment.

- `metatrain-composition.ckpt`: the composition model that `mtt train` of metatrain 2026.4.1 (PyTorch 2.13) wrote for a
  potential of H, C and O.
- `mammoth-er-safe.pt`, `mammoth-er-old-pickle.pt`: what `main.py` of Mammoth (https://github.com/aimagelab/mammoth,
  commit e75a491, PyTorch 2.13) saved after five tasks, in its two modes `--save_checkpoint_mode safe` and `old_pickle`:

      python main.py --dataset seq-mnist --model er --buffer_size 2 --minibatch_size 2 --mlp_hidden_size 4 --lr 0.01
          --n_epochs 1 --batch_size 10 --savecheck last --base_path data/ --checkpoint_path saved --seed 0

  The images were random numbers, in files named as MNIST's, and the name of the host was replaced by "host".
"""

from pathlib import Path

import pytest
import torch

from milepost.checkpoint.converting import convert
from milepost.checkpoint.foreign import ForeignFile, open_foreign

FOLDER = Path(__file__).parent
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".ckpt", ".pt"))
METATRAIN = FOLDER / "metatrain-composition.ckpt"
MAMMOTH = {"safe": FOLDER / "mammoth-er-safe.pt", "old_pickle": FOLDER / "mammoth-er-old-pickle.pt"}
MAX_BYTES = 50_000


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


def test_the_files_are_small_and_known() -> None:
    assert sorted([METATRAIN, *MAMMOTH.values()]) == FILES
    assert all(path.stat().st_size < MAX_BYTES for path in FILES)


def test_metatrain_s_file_opens() -> None:
    found = opened(METATRAIN)
    assert found.kind == "metatrain checkpoint"
    assert found.suspicious == (
        "torch.ScriptObject",
        "metatrain.utils.data.dataset.DatasetInfo",
        "metatrain.utils.data.target_info.TargetInfo",
    )
    assert found.metadata["architecture_name"] == "composition"
    assert found.metadata["model_ckpt_version"] == 1
    assert found.metadata["trainer_ckpt_version"] == 2
    assert found.metadata["train_hypers"]["batch_size"] == 10


def test_its_tensors_are_read() -> None:
    tree = opened(METATRAIN).tree()
    weights = tree["model_state_dict"]
    assert {name: (str(value.dtype), tuple(value.shape)) for name, value in weights.items()} == {
        "dummy_buffer": ("torch.float64", (1,)),
        "energy_composition_buffer": ("torch.uint8", (1102,)),
        "model.type_to_index": ("torch.int64", (9,)),
    }
    assert weights["model.type_to_index"][[1, 6, 8]].tolist() == [0, 1, 2]
    assert torch.equal(tree["best_model_state_dict"]["dummy_buffer"], weights["dummy_buffer"])
    description = tree["model_data"]["dataset_info"]
    assert description["class"] == "metatrain.utils.data.dataset.DatasetInfo"
    assert description["state"]["length_unit"] == "angstrom"
    assert description["state"]["_atomic_types"] == [1, 6, 8]


@pytest.mark.parametrize("mode", MAMMOTH)
def test_mammoth_s_file_opens(mode: str) -> None:
    found = opened(MAMMOTH[mode])
    assert found.kind == "mammoth checkpoint"
    pickled = ("utils.buffer.Buffer", "utils.buffer.ReservoirSampling")
    assert found.suspicious == (pickled if mode == "old_pickle" else ())
    assert found.metadata["args"]["model"] == "er"
    assert found.metadata["args"]["save_checkpoint_mode"] == mode
    assert [len(accuracies) for accuracies in found.metadata["results"][0]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("mode", MAMMOTH)
def test_its_weights_and_its_buffer_are_read(mode: str) -> None:
    tree = opened(MAMMOTH[mode]).tree()
    weights, buffer = tree["model"], tree["buffer"]
    assert weights["net.fc1.weight"].shape == (4, 784)
    assert weights["net.net.1.weight"].data_ptr() == weights["net.classifier.weight"].data_ptr()
    buffer = buffer if mode == "safe" else buffer["state"]
    assert buffer["examples"].shape == (2, 1, 28, 28)
    assert buffer["labels"].tolist() == [8, 7]
    # The mode "safe" loses how many examples the buffer has seen, without which it can't go on sampling.
    assert buffer.get("num_seen_examples") == {"safe": None, "old_pickle": 100}[mode]


@pytest.mark.parametrize("mode", MAMMOTH)
def test_it_is_converted(mode: str, tmp_path: Path) -> None:
    done = convert(MAMMOTH[mode], tmp_path / "weights.pt")
    assert done.kind == "mammoth checkpoint"
    assert done.tensors == 16
    loaded = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert torch.equal(loaded["net.classifier.bias"], opened(MAMMOTH[mode]).tensors()["model.net.classifier.bias"])
    whole = convert(MAMMOTH[mode], tmp_path / "whole.ckpt")
    assert whole.notes[:2] == (
        "component 'model': 6 tensors",
        "component 'other': 2 tensors",
    )  # each has two or three names
    (left_out,) = whole.notes[2:]
    assert left_out.startswith("left out, elsewhere in the file: 'optimizer', a dict")
    assert ("'buffer.state.num_seen_examples', a number" in left_out) == (mode == "old_pickle")
