"""Tiny runs over tasks whose checkpoints are stored with what they predict and how their training goes on.

`tasks/<learner>-v<n>.ckpt` is the n-th stored file of a learner: five steps of `mlp` in double precision on tasks of
two digits each, stopped in the middle of the third task. One replays from a buffer, the other predicts by what it
remembers. `tasks/<learner>-v<n>.json` beside it holds the versions of all that is in it, what it predicts for made-up
images, the metrics of the steps after it, and the matrix at the end. All are kept for good.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compat import stored_run
from milepost.archive.layout import FORMAT_VERSION
from milepost.checkpoint import load_checkpoint
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION
from milepost.images.mlp import ARCHITECTURE
from milepost.images.opening import open_classifier
from milepost.learning import TaskMatrix, find_learner
from milepost.options import load_options, with_learner
from milepost.run import Request, train

FOLDER = Path(__file__).parent / "tasks"
LEARNERS = ("er", "icarl")
STEP = 5
OPTIONS = """
seed: 3
device: cpu
base_precision: 64
architecture:
  name: mlp
  model: {hidden: [4]}
  training: {steps: 2, batch_size: 16, compile: false}
tasks: {benchmark: seq-digits}
learner: {name: NAME, buffer_size: 12, minibatch_size: 5}
checkpoints: {every_steps: 1, keep_last: 20, durability: process}
"""


def versions(learner: str) -> dict[str, int]:
    """List the versions of today of everything in a checkpoint."""
    return {
        "archive": FORMAT_VERSION,
        "training_state": TRAINING_STATE_VERSION,
        ARCHITECTURE.name: ARCHITECTURE.version,
        f"learner {learner}": find_learner(learner).version,
    }


def numbers(learner: str) -> list[int]:
    """List a learner's stored files by number, oldest first."""
    return sorted(int(path.stem.rpartition("-v")[2]) for path in FOLDER.glob(f"{learner}-v*.ckpt"))


def paths(learner: str, number: int) -> tuple[Path, Path]:
    """Return where the checkpoint of a number lies, and what is known of it."""
    return FOLDER / f"{learner}-v{number}.ckpt", FOLDER / f"{learner}-v{number}.json"


def known(learner: str, number: int) -> dict[str, Any]:
    """Read what is known of the stored checkpoint of a number."""
    found: dict[str, Any] = json.loads(paths(learner, number)[1].read_text("utf-8"))
    return found


def current(learner: str) -> bool:
    """Tell whether the newest stored file of a learner is of the versions of today."""
    newest = max(numbers(learner), default=0)
    return newest > 0 and known(learner, newest)["versions"] == versions(learner)


def run(folder: Path, learner: str, restart: Path | None = None) -> Path:
    """Train in a folder to the end, from the beginning or from a checkpoint; return the directory of the run."""
    text = OPTIONS.replace("NAME", learner)
    spec = find_learner(learner)
    options = load_options(None, with_learner(ARCHITECTURE.options_class(), spec.options), text=text)
    start = None if restart is None else str(restart)
    return train(Request(options, ARCHITECTURE, folder, folder / "model.ckpt", start), stored_run.Silent()).directory


def checkpoint_of(directory: Path) -> Path:
    """Return the checkpoint of a run after five steps."""
    return directory / "checkpoints" / f"step-{STEP:08d}.ckpt"


def predictions(path: Path) -> dict[str, Any]:
    """Compute what a file gives for images that no run has seen."""
    images = np.random.default_rng(4).integers(0, 17, size=(6, 1, 8, 8), dtype=np.uint8)
    return {name: values.tolist() for name, values in open_classifier(path).engine.predict(images).items()}


def continued(directory: Path) -> dict[str, Any]:
    """Read what a run measured behind that checkpoint, and its matrix."""
    matrix = TaskMatrix.read(directory)
    assert matrix is not None
    rows = stored_run.read_metrics(directory)
    return {"metrics": [row for row in rows if row["step"] > STEP], "matrix": matrix.state_dict()["rows"]}


def store(learner: str, number: int) -> Path:
    """Train, and write the stored file of a number with what is known of it."""
    checkpoint, facts = paths(learner, number)
    checkpoint.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        directory = run(Path(folder), learner)
        stored_run.write_small(checkpoint_of(directory), checkpoint)
        known = {
            "versions": versions(learner),
            "torch": str(torch.__version__),
            "predictions": predictions(checkpoint),
            "continued": continued(directory),
        }
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return checkpoint


def state_of(path: Path) -> dict[str, Any]:
    """Read every component of a checkpoint."""
    with load_checkpoint(path) as checkpoint:
        return {name: checkpoint.state(name) for name in checkpoint.components}
