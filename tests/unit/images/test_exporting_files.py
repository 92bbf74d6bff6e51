"""Exporting a classifier: compared on batches that it was not traced with, and published only if it agrees."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_classifiers
from milepost.errors import ExportError, MissingDependencyError, OverwriteError, ParityError
from milepost.export import read_record
from milepost.images import exporting_files, onnx_program
from milepost.images.deployment import DEPLOYMENT
from milepost.images.exporting_files import BATCHES, export_classifier, parity_samples
from milepost.images.exporting_graph import TRACED_IMAGES, ClassifierFacts
from milepost.images.opening import open_classifier


def test_the_record_tells_where_it_came_from() -> None:
    record = read_record(tiny_classifiers.onnx())
    assert record.format == "onnx"
    assert (record.run_id, record.step) == (tiny_classifiers.RUN, 12)
    assert record.architecture == {"name": "mlp", "version": 1}
    assert record.metadata == tiny_classifiers.METADATA
    assert record.facts["class_names"] == tiny_classifiers.DIGITS["class_names"]
    assert record.environment["device"] == "cpu"


def test_it_was_compared_on_batches_of_other_sizes() -> None:
    record = read_record(tiny_classifiers.onnx())
    assert set(record.parity) == {"logits", "probabilities"}
    for found in record.parity.values():
        assert found["samples"] == len(BATCHES) + 1
        assert found["found"] <= found["allowed"] < 1e-2


def test_samples_are_of_many_sizes_and_of_all_values() -> None:
    facts = ClassifierFacts.of(tiny_classifiers.DIGITS)
    samples = parity_samples(facts)
    sizes = [len(images) for _, images in samples]
    assert TRACED_IMAGES not in sizes
    assert {1, 2} < set(sizes)
    for _, images in samples:
        assert images.dtype == np.uint8
        assert images.max() <= facts.preprocessing.largest
    assert {images.min() for _, images in samples} == {0}
    for (_, one), (_, other) in zip(samples, parity_samples(facts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_program_that_computes_something_else_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        onnx_program, "write_onnx", lambda graph, facts, path: shutil.copy(tiny_classifiers.onnx(), path)
    )
    monkeypatch.setattr(
        exporting_files, "parity_samples", lambda facts: [("ones", np.ones((2, *facts.shape), np.uint8))]
    )
    monkeypatch.setattr(torch, "softmax", lambda logits, dim: torch.sigmoid(logits))
    with pytest.raises(ParityError, match=r"probabilities: expected within .*, found .* \(ones\)"):
        export_classifier(tiny_classifiers.checkpoint(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pt", "model"])
def test_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"expected a name ending in \.onnx or \.pt2, found "):
        export_classifier(tiny_classifiers.checkpoint(), tmp_path / name)


def test_another_runs_export_is_left_alone(tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_classifiers.onnx(), tmp_path / "model.onnx"))
    with pytest.raises(OverwriteError, match=f"export of run other, found a model of run {tiny_classifiers.RUN}"):
        export_classifier(tiny_classifiers.checkpoint(run_id="other"), path)


def test_without_a_compiler_a_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ExportError, match=r"expected a C\+\+ compiler .*, found none\. Install one, or export an \.onnx"
    ):
        export_classifier(tiny_classifiers.checkpoint(), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_the_format_that_nobody_chose_needs_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DEPLOYMENT.default_suffix() == ".onnx"
    monkeypatch.setattr(onnx_program.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"could not export to \.onnx: expected the packages onnx"):
        DEPLOYMENT.default_suffix()


@pytest.mark.slow
def test_a_compiled_classifier_answers_like_the_checkpoint() -> None:
    opened = open_classifier(tiny_classifiers.compiled())
    assert opened.kind == "aotinductor classifier"
    reference = open_classifier(tiny_classifiers.checkpoint())
    for count in (1, 3, 40):
        images = np.random.default_rng(count).integers(0, 17, (count, 1, 8, 8), dtype=np.uint8)
        found, expected = opened.engine.predict(images), reference.engine.predict(images)
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
    with pytest.raises(ExportError, match="expected the device 'cpu' that it was compiled for, found 'cuda'"):
        open_classifier(tiny_classifiers.compiled(), device="cuda")
