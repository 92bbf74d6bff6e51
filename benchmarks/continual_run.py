"""Train once, as `milepost train` does, and leave what came of it: one process, one run.

    python continual_run.py RUN.json

reads options from that file, trains in the working directory, and writes `result.json` there: the scores of every
metric after the last task, the steps, versions, and the seconds of training by the clock and of the processor. Training
is all from reading data to the published model and the picture of its matrix, evaluations included; `processor` is that
of the whole process. Nothing is exported. Whatever fails ends the process with a status other than 0.
"""

import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

from milepost.cli.validation import read_options
from milepost.learning import TaskMatrix
from milepost.run import Reporter, Request, train


def main() -> None:
    """Train what the file describes."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if asked["core"] is not None:
        os.sched_setaffinity(0, {asked["core"]})
    torch.set_num_threads(1)
    # JSON is YAML: the options are read from a file, as a user's are.
    Path("options.yaml").write_text(json.dumps(asked["options"], indent=2), encoding="utf-8")
    options, architecture = read_options(Path("options.yaml"), for_training=True)
    clock, processor = time.perf_counter(), time.process_time()
    result = train(Request(options, architecture, Path(), Path("model.ckpt")), Reporter())
    seconds = {
        "training": time.perf_counter() - clock,
        "training_processor": time.process_time() - processor,
        "processor": time.process_time(),
    }
    matrix = TaskMatrix.read(result.directory)
    if result.outcome != "finished" or matrix is None:
        raise SystemExit(f"expected a finished run with a matrix in '{result.directory}', found {result.outcome}")
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("milepost", "torch")}}
    found = {"scores": matrix.summary(), "steps": result.step, "seconds": seconds, "versions": versions}
    Path("result.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
