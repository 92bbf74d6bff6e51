"""Files of any kind are compared by their tensors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from milepost.checkpoint import save_checkpoint
from milepost.checkpoint.comparing import Comparison, Form, TensorDifference
from milepost.checkpoint.comparing_tensors import compare_files
from milepost.checkpoint.converting import convert
from milepost.checkpoint.tensor_distance import Distance
from milepost.errors import ConversionError, NotAnArchiveError

WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor([1, 2]),
    "z": torch.ones(2, dtype=torch.complex64),
}


def plain(path: Path, content: object = WEIGHTS) -> Path:
    torch.save(content, path)
    return path


def named(found: Comparison) -> dict[str, TensorDifference]:
    return {difference.name: difference for difference in found.tensors}


def test_two_checkpoints_are_compared_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, {"model": WEIGHTS}, options_yaml=f"name: {name}", durability="process")
    found = compare_files(tmp_path / "a", tmp_path / "b")
    assert [str(each) for each in found.sections["options"]] == ["name: 'a' → 'b'"]
    assert (found.equal_tensors, found.compared) == (3, None)


@pytest.mark.parametrize("ending", [".ckpt", ".pt"])
def test_a_file_equals_what_it_was_converted_to(ending: str, tmp_path: Path) -> None:
    source = plain(tmp_path / "source.pt", {"state_dict": WEIGHTS, "epoch": 3, "pytorch-lightning_version": "2.6"})
    convert(source, tmp_path / f"target{ending}")
    found = compare_files(source, tmp_path / f"target{ending}")
    assert found.equal
    assert found.equal_tensors == 3
    assert found.compared is not None
    assert found.compared[0] == "'state_dict' of a lightning checkpoint"


def test_files_of_one_kind_are_compared_by_all_tensors_and_metadata(tmp_path: Path) -> None:
    whole = {"state_dict": WEIGHTS, "epoch": 3, "pytorch-lightning_version": "2.6", "other": torch.ones(2)}
    a = plain(tmp_path / "a", whole)
    b = plain(tmp_path / "b", {**whole, "epoch": 4, "other": torch.tensor([1.0, 1.5])})
    found = compare_files(a, b)
    assert [str(each) for each in found.sections["metadata"]] == ["epoch: 3 → 4"]
    assert named(found) == {
        "other": TensorDifference("", "other", Form("F32", (2,)), Form("F32", (2,)), Distance(1, 2, 0.5, 0.5 / 1.5))
    }
    assert not found.equal
    assert found.compared == ("tensors and metadata of a lightning checkpoint",) * 2


def test_what_only_one_has_and_other_forms_are_named(tmp_path: Path) -> None:
    a = plain(tmp_path / "a")
    b = tmp_path / "b"
    save_file({"a.weight": torch.zeros(2, 3, dtype=torch.float64), "b": WEIGHTS["b"], "new": torch.ones(1)}, b)
    found = compare_files(a, b)
    assert found.compared == ("all of a torch state dict", "all of a safetensors file")
    assert named(found) == {
        "a.weight": TensorDifference("", "a.weight", Form("F32", (2, 3)), Form("F64", (2, 3))),
        "z": TensorDifference("", "z", Form("complex64", (2,)), None),
        "new": TensorDifference("", "new", None, Form("F32", (1,))),
    }
    assert found.equal_tensors == 1


def test_other_bytes_of_equal_numbers_are_seen(tmp_path: Path) -> None:
    a, b = plain(tmp_path / "a", {"w": torch.zeros(1)}), plain(tmp_path / "b", {"w": -torch.zeros(1)})
    (difference,) = compare_files(a, b).tensors
    assert difference.distance == Distance(0, 1, 0.0, 0.0)


def test_files_without_tensors_are_refused(tmp_path: Path) -> None:
    a = plain(tmp_path / "a")
    (tmp_path / "b").write_text("hello")
    with pytest.raises(NotAnArchiveError, match="expected a checkpoint or a file of tensors, found something else"):
        compare_files(a, tmp_path / "b")
    with pytest.raises(NotAnArchiveError, match="expected a checkpoint or a file of tensors, found something else"):
        compare_files(a, tmp_path)
    with pytest.raises(ConversionError, match="expected tensors in this torch file, found none"):
        compare_files(a, plain(tmp_path / "c", {"epoch": 1}))
    with pytest.raises(ConversionError, match="expected tensors in this torch file, found none"):
        compare_files(tmp_path / "c", tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        compare_files(a, tmp_path / "absent")
