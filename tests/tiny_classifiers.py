"""Tiny classifiers for tests, as the files that users have: random weights, the same each time."""

import functools
import tempfile
from pathlib import Path

import torch

from milepost.checkpoint import CheckpointRecord, environment, save_checkpoint
from milepost.images.domain import DOMAIN
from milepost.images.preprocessing import Preprocessing
from milepost.model import find_architecture
from milepost.options import load_options

RUN = "run-of-the-tests"
METADATA = {"name": "tiny digits", "authors": ["A. Author"], "references": {"model": ["doi:10.1/model"]}}
DIGITS = {
    "shape": [1, 8, 8],
    "classes": 10,
    "class_names": [str(digit) for digit in range(10)],
    "preprocessing": Preprocessing(16).facts(),
    "benchmark": "seq-digits",
}
COLORED = {
    "shape": [3, 9, 7],
    "classes": 3,
    "class_names": ["cat", "dog", "Å"],
    "preprocessing": Preprocessing(255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)).facts(),
    "benchmark": None,
}

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def folder() -> Path:
    """Return a folder that lasts as long as the test process."""
    kept = tempfile.TemporaryDirectory(prefix="milepost-tests-")
    _FOLDERS.append(kept)
    return Path(kept.name)


def checkpoint(name: str = "mlp", *, colored: bool = False, precision: int = 32, run_id: str = RUN) -> Path:
    """Save a classifier as training does."""
    return _checkpoint(name, colored, precision, run_id)


@functools.cache
def _checkpoint(name: str, colored: bool, precision: int, run_id: str) -> Path:
    path = folder() / f"{run_id}-{name}-{colored}-{precision}.ckpt"
    architecture = find_architecture(name)
    model_options = {"mlp": "{hidden: [12, 9]}", "resnet18": "{filters: 2}"}[name]
    text = f"architecture: {{name: {name}, model: {model_options}}}\nbase_precision: {precision}\n"
    options = load_options(None, architecture.options_class(), text=text)
    facts = COLORED if colored else DIGITS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = DOMAIN.rebuild(options, architecture, facts)
    record = CheckpointRecord(
        run_id=run_id,
        step=12,
        metadata={"architecture": name, "metadata": METADATA},
        environment=environment(),
        versions={name: architecture.version},
    )
    save_checkpoint(path, {"model": model, "facts": facts}, options_yaml=text, record=record)
    return path


def onnx(*, colored: bool = False) -> Path:
    """Export a checkpoint to `.onnx`: once in a test process, because the exporter takes seconds."""
    return _onnx(colored)


@functools.cache
def _onnx(colored: bool) -> Path:
    from milepost.images.exporting_files import export_classifier

    path = folder() / f"tiny-{colored}.onnx"
    export_classifier(checkpoint(colored=colored), path)
    return path


@functools.cache
def compiled() -> Path:
    """Export a checkpoint to `.pt2`: the only compilation of a classifier in the test process."""
    from milepost.images.exporting_files import export_classifier

    path = folder() / "tiny.pt2"
    export_classifier(checkpoint(), path)
    return path
