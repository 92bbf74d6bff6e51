"""What the tables of continual learning are made by: each learner's settings on each stream, and the published figures.

Everything here is of P. Buzzega, M. Boschini, A. Porrello, D. Abati, S. Calderara, Dark experience for general
continual learning: a strong, simple baseline, NeurIPS 2020. Settings are the best of the authors' grid search as they
stand in their code (tag `neurips2020`, `utils/best_args.py`); figures are those of the paper and of that code's own
description: final average accuracy in % over 10 runs. The protocol beside them: an MLP of 784-100-100-10 units with one
head, images scaled to [0, 1] and nothing else, plain SGD, one epoch over each task. Joint training has the settings of
SGD. LwF's penalty of 5e-4 times the squared weights has the gradient of a weight decay of 1e-3. GDumb and ER-ACE are
not in the paper: their settings are those of their neighbors. Rows behind a # are there because the figure beside them
can't be had with the settings given for it (`docs/benchmarks-continual.md`).

Needs nothing but the standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STREAMS = {"seq-mnist": "S-MNIST", "perm-mnist": "P-MNIST", "rot-mnist": "R-MNIST"}

NAMES = {
    "joint": "Joint",
    "finetune": "SGD",
    "oewc": "oEWC",
    "si": "SI",
    "lwf": "LwF",
    "er": "ER",
    "gem": "GEM",
    "agem": "A-GEM",
    "icarl": "iCaRL",
    "gdumb": "GDumb",
    "er-ace": "ER-ACE",
    "der": "DER",
    "derpp": "DER++",
}
"""Learners by the names that tables give them, in the order of tables."""

ASKED = ("joint", "finetune", "oewc", "er", "der", "derpp")
"""Learners that the tables are about; others are measured when they are named."""


@dataclass(frozen=True)
class Cell:
    """Hold the settings of one learner on one stream: learning rate, examples in a batch, keys of the learner's own.

    `buffer` is None for learners that keep no examples; `decay` is the optimizer's decay of the weights; `note` says in
    what it is not the paper's.
    """

    stream: str
    learner: str
    buffer: int | None
    rate: float
    batch: int
    keys: Mapping[str, Any] = field(default_factory=dict[str, Any])
    note: str = ""
    decay: float = 0.0

    @property
    def name(self) -> str:
        """Say which of its stream's it is, for people."""
        size = "" if self.buffer is None else f" {self.buffer}"
        return f"{NAMES[self.learner]}{size}{f' ({self.note})' if self.note else ''}"

    def options(self, seed: int, data_dir: str) -> dict[str, Any]:
        """Return what a file of options says for a run of this cell."""
        memory = {} if self.buffer is None else {"buffer_size": self.buffer}
        optimizer = {"name": "SGD", "learning_rate": self.rate, **({"weight_decay": self.decay} if self.decay else {})}
        training = {"epochs": 1, "batch_size": self.batch, "optimizer": optimizer}
        return {
            "seed": seed,
            "device": "cpu",
            "tasks": {"benchmark": self.stream, "data_dir": data_dir},
            "architecture": {"name": "mlp", "training": training},
            "learner": {"name": self.learner, **memory, **self.keys},
            "checkpoints": {"durability": "process", "keep_last": 1, "keep_best": 0},
        }


def _cells(stream: str, batch: int, rows: str) -> list[Cell]:
    """Read a table: learner, buffer, learning rate, keys of the learner's own, and a note behind a #."""
    cells: list[Cell] = []
    for row in rows.strip().splitlines():
        text, _, note = row.partition("#")
        learner, buffer, rate, *keys = text.split()
        own: dict[str, Any] = {
            key: float(value) if "." in value else int(value) for key, value in (pair.split("=") for pair in keys)
        }
        size = None if buffer == "-" else int(buffer)
        decay = own.pop("weight_decay", 0.0)
        cells.append(Cell(stream, learner, size, float(rate), batch, own, note.strip(), decay))
    return cells


CELLS = [
    *_cells(
        "seq-mnist",
        10,
        """
        joint     -    0.03
        finetune  -    0.03
        oewc      -    0.03  e_lambda=90.0  gamma=1.0
        si        -    0.1   c=1.0  xi=0.9
        lwf       -    0.03  alpha=1.0  softmax_temp=2.0  weight_decay=0.001
        er        200  0.01  minibatch_size=10
        er        500  0.1   minibatch_size=10
        gem       200  0.01  gamma=1.0
        gem       500  0.03  gamma=0.5
        agem      200  0.1   minibatch_size=128
        agem      500  0.1   minibatch_size=128
        icarl     200  0.1   minibatch_size=10  wd_reg=0.0
        icarl     500  0.1   minibatch_size=10  wd_reg=0.0
        gdumb     200  0.05
        gdumb     500  0.05
        er-ace    200  0.01  minibatch_size=10
        er-ace    500  0.1   minibatch_size=10
        der       200  0.03  minibatch_size=10   alpha=0.2
        der       500  0.03  minibatch_size=128  alpha=1.0
        derpp     200  0.03  minibatch_size=128  alpha=0.2  beta=1.0
        derpp     500  0.03  minibatch_size=10   alpha=1.0  beta=0.5
        """,
    ),
    *_cells(
        "perm-mnist",
        128,
        """
        joint     -    0.2
        finetune  -    0.2
        oewc      -    0.1   e_lambda=0.7  gamma=1.0
        oewc      -    0.1   e_lambda=7.0  gamma=1.0  # λ = 7, not 0.7
        si        -    0.1   c=0.5  xi=1.0
        er        200  0.2   minibatch_size=128
        er        500  0.2   minibatch_size=128
        gem       200  0.1   gamma=0.5
        gem       500  0.1   gamma=0.5
        agem      200  0.1   minibatch_size=128
        agem      500  0.1   minibatch_size=128
        der       200  0.2   minibatch_size=128  alpha=1.0
        der       500  0.2   minibatch_size=128  alpha=1.0
        derpp     200  0.1   minibatch_size=128  alpha=1.0  beta=1.0
        derpp     500  0.2   minibatch_size=128  alpha=1.0  beta=0.5
        """,
    ),
    *_cells(
        "rot-mnist",
        128,
        """
        joint     -    0.2
        finetune  -    0.2
        oewc      -    0.1   e_lambda=0.7  gamma=1.0
        si        -    0.1   c=1.0  xi=1.0
        er        200  0.2   minibatch_size=128
        er        500  0.2   minibatch_size=128
        gem       200  0.01  gamma=0.5
        gem       500  0.01  gamma=0.5
        agem      200  0.1   minibatch_size=128
        agem      500  0.3   minibatch_size=128
        der       200  0.2   minibatch_size=128  alpha=1.0
        der       500  0.2   minibatch_size=128  alpha=0.5
        derpp     200  0.1   minibatch_size=128  alpha=1.0  beta=0.5
        derpp     500  0.2   minibatch_size=128  alpha=0.5  beta=1.0
        """,
    ),
]
"""Settings, by stream with its batch size. The authors' names of keys: e_lambda, c, softmax_temp, wd_reg."""


@dataclass(frozen=True)
class Published:
    """Hold a published mean in %, and its standard deviation where one is known."""

    mean: float
    deviation: float | None = None


CLASS, TASK, DOMAIN = "class-IL", "task-IL", "domain-IL"
METRICS = {CLASS: "accuracy", TASK: "task_accuracy", DOMAIN: "accuracy"}
"""Read-outs, and the metric of a run that each is."""


def read_outs(stream: str) -> tuple[str, ...]:
    """List how a stream is read out."""
    return (CLASS, TASK) if stream == "seq-mnist" else (DOMAIN,)


_FIGURES = """
    joint     -    95.57  99.51  94.33±0.17  95.76±0.04
    finetune  -    19.60  94.94  40.70±2.33  67.66±8.53
    oewc      -    20.46  98.39  75.79±2.25  77.35±5.77
    si        -    19.27  96.00  65.86±1.57  71.91±5.83
    lwf       -    19.62  94.11  -           -
    er        200  80.43  97.86  72.37±0.87  85.01±1.90
    gem       200  80.11  97.78  66.93±1.25  80.80±1.15
    agem      200  45.72  98.61  66.42±4.00  81.91±0.76
    icarl     200  70.51  98.28  -           -
    der       200  84.55  98.80  81.74±1.07  90.04±2.61
    derpp     200  85.61  98.76  83.58±0.59  90.43±1.87
    er        500  86.12  99.04  80.60±0.86  88.91±1.44
    gem       500  85.99  98.71  76.88±0.52  81.15±1.98
    agem      500  46.66  98.93  67.56±1.28  80.31±6.29
    icarl     500  70.10  98.32  -           -
    der       500  90.54  98.84  87.29±0.46  92.24±1.12
    derpp     500  91.00  98.94  88.21±0.39  92.77±1.05
"""
_COLUMNS = (("seq-mnist", CLASS), ("seq-mnist", TASK), ("perm-mnist", DOMAIN), ("rot-mnist", DOMAIN))


def _figures() -> dict[tuple[str, str, int | None, str], Published]:
    found: dict[tuple[str, str, int | None, str], Published] = {}
    for row in _FIGURES.strip().splitlines():
        learner, buffer, *texts = row.split()
        size = None if buffer == "-" else int(buffer)
        for (stream, read_out), text in zip(_COLUMNS, texts, strict=True):
            if text != "-":
                mean, _, deviation = text.partition("±")
                figure = Published(float(mean), float(deviation) if deviation else None)
                found[stream, learner, size, read_out] = figure
    return found


FIGURES = _figures()
"""Published figures by stream, learner, buffer and read-out."""


def published(cell: Cell, read_out: str) -> Published | None:
    """Return what was published for a cell; None where nothing was."""
    return FIGURES.get((cell.stream, cell.learner, cell.buffer, read_out))
