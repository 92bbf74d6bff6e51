"""Files that other packages wrote, stored here because the packages are no part of the tests' environment.

- `metatrain-composition.ckpt`: the composition model that `mtt train` of metatrain 2026.4.1 (PyTorch 2.13) wrote for a
  potential of H, C and O.
"""

from pathlib import Path

import pytest
import torch

from milepost.checkpoint.foreign import open_foreign

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.ckpt"))
MAX_BYTES = 50_000


def test_the_files_are_small_and_known() -> None:
    assert [path.name for path in FILES] == ["metatrain-composition.ckpt"]
    assert all(path.stat().st_size < MAX_BYTES for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_a_stored_file_opens(path: Path) -> None:
    found = open_foreign(path)
    assert found is not None
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


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_its_tensors_are_read(path: Path) -> None:
    found = open_foreign(path)
    assert found is not None
    tree = found.tree()
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
