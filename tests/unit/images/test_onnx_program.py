"""The `.onnx` file: what any runtime finds in it, and what is refused."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tiny_classifiers
from milepost.errors import ExportError, MissingDependencyError
from milepost.images import onnx_program
from milepost.images.exporting_graph import ClassifierFacts, ClassifierGraph
from milepost.images.onnx_program import check_installed, load_onnx, write_onnx
from milepost.run import open_trained


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(tiny_classifiers.onnx(colored=True))


def test_the_file_is_valid(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.producer_name == "milepost"


def test_the_number_of_images_is_free(model: onnx.ModelProto) -> None:
    (taken,) = model.graph.input
    assert taken.name == "images"
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dimensions = [size.dim_param or size.dim_value for size in taken.type.tensor_type.shape.dim]
    assert dimensions == ["images", 3, 9, 7]
    assert [given.name for given in model.graph.output] == ["logits", "probabilities"]


def test_any_runtime_finds_classes_and_preprocessing() -> None:
    session = onnxruntime.InferenceSession(tiny_classifiers.onnx(colored=True), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["class_names"]) == ["cat", "dog", "Å"]
    assert json.loads(found["preprocessing"])["mean"] == [0.5, 0.4, 0.3]
    assert json.loads(found["milepost"])["run_id"] == tiny_classifiers.RUN


def test_it_names_nothing_of_where_it_was_made() -> None:
    content = tiny_classifiers.onnx(colored=True).read_bytes()
    for trace in (str(Path(torch.__file__).parents[1]), str(Path(tiny_classifiers.__file__).parents[1]), ".py"):
        assert trace.encode() not in content


def test_it_computes_what_the_model_does() -> None:
    trained = open_trained(tiny_classifiers.checkpoint(colored=True))
    graph = ClassifierGraph(trained.model, ClassifierFacts.of(trained.facts).preprocessing)
    images = np.random.default_rng(3).integers(0, 256, (11, 3, 9, 7), dtype=np.uint8)
    logits, probabilities = graph(torch.from_numpy(images))
    found = load_onnx(tiny_classifiers.onnx(colored=True))(images[::-1])  # not contiguous, as images may come
    np.testing.assert_allclose(found["logits"], logits.numpy()[::-1], atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], probabilities.numpy()[::-1], atol=1e-6)


def test_writing_leaves_logging_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also when it fails."""

    def stop(*arguments: object, **named: object) -> None:
        raise torch.onnx.OnnxExporterError("no operator 'aten::some'")

    monkeypatch.setattr(torch.onnx, "export", stop)
    trained = open_trained(tiny_classifiers.checkpoint())
    facts = ClassifierFacts.of(trained.facts)
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    with pytest.raises(ExportError, match=r"found no ONNX form of this model: no operator 'aten::some'.*a \.pt2 file"):
        write_onnx(ClassifierGraph(trained.model, facts.preprocessing), facts, tmp_path / "model.onnx")
    assert logger.level == before
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_onnxruntime_cannot_load_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_classifiers.onnx(colored=True).read_bytes()[:300])
    with pytest.raises(ExportError, match=r"onnxruntime .* can't load it"):
        load_onnx(path)


def test_packages_that_are_absent_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed(onnx_program.TO_WRITE, "export")
    monkeypatch.setattr(onnx_program.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(
        MissingDependencyError,
        match=r"could not export: expected the packages onnx, onnxscript, .*, found no onnxscript\. .*\[onnx\]",
    ):
        check_installed(onnx_program.TO_WRITE, "export")
