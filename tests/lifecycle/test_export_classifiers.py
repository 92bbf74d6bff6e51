"""`milepost export`, `show` and `eval` of a classifier from the command line, and its file in another program."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_digits

import tiny_classifiers
from milepost.cli import main

Milepost = Callable[..., tuple[int, str, str]]


@pytest.fixture
def milepost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Milepost:
    """Run the command in a folder that holds a checkpoint and options; return status, output and errors."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_classifiers.checkpoint(), "model.ckpt")
    Path("eval.yaml").write_text("benchmark: seq-digits\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_the_default_is_an_onnx_file_that_any_runtime_classifies_with(milepost: Milepost) -> None:
    """And `milepost` itself finds the accuracy of the checkpoint with it."""
    status, output, errors = milepost("export", "model.ckpt")
    assert status == 0, errors
    assert errors == ""
    assert output.endswith("exported: model.onnx\n")
    assert re.search(r"^logits: within \d\.\de-\d\d of the trained model$", output, re.MULTILINE)

    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == [str(n) for n in range(10)]
    images = load_digits().images.astype(np.uint8)[:, None]
    (probabilities,) = session.run(["probabilities"], {"images": images})
    assert probabilities.shape == (len(images), 10)

    results = [milepost("eval", name, "eval.yaml", "-o", f"{name}.csv") for name in ("model.ckpt", "model.onnx")]
    for (status, output, errors), kind in zip(results, ("checkpoint", "onnx"), strict=True):
        assert status == 0, errors
        assert output.startswith("model: tiny digits, by A. Author\n")
        assert f"({kind}): 355 images, 5 tasks\n     accuracy " in output
    figures = [re.findall(r"accuracy +([\d.]+) %", output) for _, output, _ in results]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 12
    rows = [Path(f"{name}.csv").read_text().splitlines() for name in ("model.ckpt", "model.onnx")]
    assert [row.rpartition(",")[0] for row in rows[0]] == [row.rpartition(",")[0] for row in rows[1]]


def test_show_says_what_it_is(milepost: Milepost) -> None:
    shutil.copy(tiny_classifiers.onnx(), "model.bin")
    status, output, _ = milepost("show", "model.bin")
    assert status == 0
    assert "exported model (onnx)" in output
    assert "images: uint8 [images, 1, 8, 8], from 0 to 16" in output
    assert "largest deviation from the trained model" in output
    found = json.loads(milepost("show", "--json", "model.bin")[1])
    assert found["facts"]["class_names"] == [str(n) for n in range(10)]
    assert found["run_id"] == tiny_classifiers.RUN


def test_a_flipped_bit_is_found(milepost: Milepost) -> None:
    """In the weights, where it would only make the answers wrong."""
    content = bytearray(tiny_classifiers.onnx().read_bytes())
    Path("model.onnx").write_bytes(content)
    assert milepost("show", "--verify", "model.onnx")[:1] == (0,)
    assert "an exported model: its digest is that of its bytes" in milepost("verify", "model.onnx")[1]
    content[len(content) // 3] ^= 1
    Path("model.onnx").write_bytes(content)
    status, output, _ = milepost("show", "--verify", "model.onnx")
    assert status == 1
    assert output.endswith("damaged:\n  the file: its digest is not that of its bytes\n")
    assert "its digest is not that of its bytes" in milepost("verify", "model.onnx")[1]
    status, _, errors = milepost("eval", "model.onnx", "eval.yaml")
    assert status == 1
    assert "could not open 'model.onnx': expected the bytes that its digest is of, found others" in errors


def test_an_onnx_file_of_another_program_is_called_so(milepost: Milepost) -> None:
    content = tiny_classifiers.onnx().read_bytes()
    Path("theirs.onnx").write_bytes(content.replace(b"milepost", b"mileston"))
    status, _, errors = milepost("show", "theirs.onnx")
    assert status == 1
    assert "found an ONNX program that Milepost did not export" in errors
    assert "expected a checkpoint, found an ONNX program" in milepost("export", "theirs.onnx")[2]
    assert "found another kind of file" in milepost("eval", "theirs.onnx", "eval.yaml")[2]


def test_an_exported_classifier_is_not_exported_again(milepost: Milepost) -> None:
    shutil.copy(tiny_classifiers.onnx(), "model.onnx")
    status, _, errors = milepost("export", "model.onnx", "-o", "again.onnx")
    assert status == 1
    assert "found a model that is exported already (onnx). Give the checkpoint" in errors


def test_a_classifier_has_no_metatomic_form(milepost: Milepost) -> None:
    status, _, errors = milepost("export", "model.ckpt", "-o", "model.pt")
    assert status == 1
    assert "expected a name ending in .onnx or .pt2, found '.pt'" in errors


def test_options_of_potentials_are_none_of_classifiers(milepost: Milepost) -> None:
    Path("eval.yaml").write_text("systems: frames.xyz\n")
    status, _, errors = milepost("eval", "model.ckpt", "eval.yaml")
    assert status == 1
    assert "systems" in errors
    assert "unknown" in errors


@pytest.mark.slow
def test_a_resnet_computes_the_same_in_onnxruntime(milepost: Milepost) -> None:
    """Convolutions, and statistics of batches that are constants by now."""
    shutil.copy(tiny_classifiers.checkpoint("resnet18"), "resnet.ckpt")
    status, output, errors = milepost("export", "resnet.ckpt")
    assert status == 0, errors
    assert "exported: resnet.onnx" in output
