"""What the learners that come with Milepost remember, and their options: names and types, at no values.

Each is trained on small problems of its conformance suite; its state is described before anything, in the middle of the
last task, when most of it is there, and behind the end.
"""

import json
from pathlib import Path

from compat.structures import describe_tree
from milepost.learning import find_learner
from milepost.learning.conformance.playing import Play
from milepost.learning.conformance.problems import classified, ragged
from milepost.learning.objective import LEVELS

FOLDER = Path(__file__).parent / "learners"
NAMES = (
    "agem", "der", "derpp", "er", "er-ace", "finetune", "gdumb", "gem", "icarl", "joint", "lwf", "oewc", "si",
)  # fmt: skip
BUFFER = 9


def today(name: str) -> dict[str, str]:
    """Describe a learner's options, and what it remembers of each problem that it can be given."""
    spec = find_learner(name)
    lines = {f"options.{key}": str(field.annotation) for key, field in spec.options.model_fields.items()}
    small = {"buffer_size": BUFFER, "fitting_epochs": 1}
    given = {"name": name, **{key: value for key, value in small.items() if key in spec.options.model_fields}}
    kind = spec.build.load()
    for problem in (classified(), ragged()):
        if LEVELS.index(problem.gives) < LEVELS.index(kind.needs):
            continue
        play = Play(kind, spec.options.model_validate(given), problem, joint=kind.joint)
        for moment, until in (("begun", 0), ("training", len(play.events) - 2), ("ended", None)):
            play.play(until)
            describe_tree(play.learner.state_dict(), f"{problem.name}, {moment}", lines)
    return lines


def stored(name: str, version: int) -> Path:
    """Name the file that describes a version of a learner."""
    return FOLDER / f"{name}-v{version}.json"


def write(name: str) -> Path:
    """Describe today's version of a learner."""
    path = stored(name, find_learner(name).version)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(today(name), indent=1) + "\n", encoding="utf-8")
    return path
