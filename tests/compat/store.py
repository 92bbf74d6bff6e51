"""Store what files of today look like, for the tests of tomorrow: `python tests/compat/store.py`.

- `networks/<architecture>-v<version>.json` lists the tensors of an architecture at default options, and the facts that
  a classifier is built from (see `networks`).
- `learners/<learner>-v<version>.json` lists a learner's options and what it remembers (see `memories`).
- `archives/v<version>.zip` is an archive with one of everything (see `archives`).
- `checkpoints/v<n>.ckpt` is a checkpoint of a tiny run, with what it predicts and how it goes on (see `stored_run`).
- `tasks/<learner>-v<n>.ckpt` is the same of a tiny run over tasks (see `stored_tasks`).

Files of a version are kept for good once it is released. This writes what is missing for the versions of today. Run it
after a version was raised: VERSION in the `upgrades.py` of an architecture, the one of a learner in
`milepost/learning/learners/__init__.py`, TRAINING_STATE_VERSION in `milepost/checkpoint/upgrades.py` or FORMAT_VERSION
in `milepost/archive/layout.py`. With `--unreleased` it replaces the files of today's versions: only while these were
never released. An architecture whose package is not installed is left out.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent


def missing(*, replace: bool) -> Iterator[Callable[[], Path]]:
    """List what is not stored for the versions of today, each as what writes it; everything with `replace`."""
    from compat import archives, memories, networks, stored_run, stored_tasks
    from milepost.archive.layout import FORMAT_VERSION
    from milepost.learning import find_learner
    from milepost.model import find_architecture

    for name in networks.NAMES:
        there = name != "timm" or find_spec(name) is not None
        if there and (replace or not networks.stored(name, find_architecture(name).version).exists()):
            yield lambda name=name: networks.write(name)
    for name in memories.NAMES:
        if replace or not memories.stored(name, find_learner(name).version).exists():
            yield lambda name=name: memories.write(name)
    if replace or not archives.stored(FORMAT_VERSION).exists():
        yield lambda: archives.write(archives.stored(FORMAT_VERSION))
    newest = max(stored_run.numbers(), default=0)
    current = newest > 0 and stored_run.known(newest)["versions"] == stored_run.versions()
    if replace or not current:
        yield lambda: stored_run.store(newest if current else newest + 1)
    for name in stored_tasks.LEARNERS:
        if replace or not stored_tasks.current(name):
            number = max(stored_tasks.numbers(name), default=0) + (not stored_tasks.current(name))
            yield lambda name=name, number=number: stored_tasks.store(name, number)


def main() -> None:
    """Write what is missing for the versions of today."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--unreleased", action="store_true", help="replace the files of versions never released")
    replace = parser.parse_args().unreleased
    sys.path.insert(0, str(FOLDER.parent))
    written = [write() for write in missing(replace=replace)]
    print(
        "\n".join(f"written: {path}" for path in written) or "nothing to store: the versions of today have their files"
    )


if __name__ == "__main__":
    main()
