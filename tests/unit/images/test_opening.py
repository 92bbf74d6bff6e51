"""A file is opened as what its content says, and another kind is refused."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import tiny_classifiers
from milepost.errors import ExportError, NotAnArchiveError
from milepost.export import attach_record, read_record
from milepost.images.opening import open_classifier


def test_the_kind_is_told_by_the_content(tmp_path: Path) -> None:
    renamed = Path(shutil.copy(tiny_classifiers.onnx(), tmp_path / "model.ckpt"))
    opened = open_classifier(renamed)
    assert opened.kind == "onnx"
    assert opened.metadata["name"] == "tiny digits"
    assert open_classifier(tiny_classifiers.checkpoint()).kind == "checkpoint"


@pytest.mark.parametrize("made", [tiny_classifiers.checkpoint, tiny_classifiers.onnx], ids=["checkpoint", "onnx"])
def test_a_file_says_which_tasks_were_learned(made: Callable[[], Path]) -> None:
    expected = {"benchmark": "seq-digits", "seed": 0, "class_order": None, "classes_per_task": None, "count": None}
    assert open_classifier(made()).engine.facts.tasks == expected


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("text")
    with pytest.raises(NotAnArchiveError, match="as a classifier: expected a checkpoint or a model exported"):
        open_classifier(path)


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data", "")
    attach_record(path, replace(read_record(tiny_classifiers.onnx()), format="telepathy"))
    with pytest.raises(ExportError, match="expected the format 'onnx' or 'aotinductor classifier', found 'telepathy'"):
        open_classifier(path)


def test_onnx_files_are_run_on_the_processor() -> None:
    assert open_classifier(tiny_classifiers.onnx(), device="cpu").kind == "onnx"
    with pytest.raises(ExportError, match="expected the device 'cpu', where milepost runs"):
        open_classifier(tiny_classifiers.onnx(), device="cuda")
