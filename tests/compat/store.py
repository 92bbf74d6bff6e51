"""Store what files of today look like, for the tests of tomorrow: `python tests/compat/store.py`.

- `cairn-v<version>.json` lists name, shape and type of every parameter and buffer of `cairn` at default options with
  three species.
- `archives/v<version>.zip` is an archive with one of everything (see `archives`).
- `checkpoints/v<n>.ckpt` is a checkpoint of a tiny run, with what it predicts and how it goes on (see `stored_run`).

Files of a version are kept for good once it is released. This writes what is missing for the versions of today. Run it
after a version was raised: VERSION in `milepost/atoms/cairn/upgrades.py`, TRAINING_STATE_VERSION in
`milepost/checkpoint/upgrades.py` or FORMAT_VERSION in `milepost/archive/layout.py`. With `--unreleased` it replaces the
files of today's versions: only while these were never released.
"""

import argparse
import json
import sys
from pathlib import Path

from torch import nn

from milepost.archive.layout import FORMAT_VERSION
from milepost.atoms.cairn import ARCHITECTURE

FOLDER = Path(__file__).parent
SPECIES = 3


def build() -> nn.Module:
    """Make the network at default options."""
    options = ARCHITECTURE.model_options()
    return ARCHITECTURE.build.load()(options, species=SPECIES, average_neighbors=8.0)


def structure(network: nn.Module) -> dict[str, dict[str, object]]:
    """List the tensors that a checkpoint of this network holds: kind, shape and type by name."""
    parameters = {name for name, _ in network.named_parameters()}
    return {
        name: {
            "kind": "parameter" if name in parameters else "buffer",
            "shape": list(value.shape),
            "type": str(value.dtype).removeprefix("torch."),
        }
        for name, value in network.state_dict().items()
    }


def stored(version: int) -> Path:
    """Name the file that lists the tensors of a version."""
    return FOLDER / f"{ARCHITECTURE.name}-v{version}.json"


def write_structure(path: Path) -> None:
    """Write the tensors of today's version of the architecture."""
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in structure(build()).items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    """Write what is missing for the versions of today."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--unreleased", action="store_true", help="replace the files of versions never released")
    replace = parser.parse_args().unreleased
    sys.path.insert(0, str(FOLDER.parent))
    from compat import archives, stored_run

    written = []
    if replace or not stored(ARCHITECTURE.version).exists():
        write_structure(stored(ARCHITECTURE.version))
        written.append(stored(ARCHITECTURE.version))
    if replace or not archives.stored(FORMAT_VERSION).exists():
        archives.write(archives.stored(FORMAT_VERSION))
        written.append(archives.stored(FORMAT_VERSION))
    newest = max(stored_run.numbers(), default=0)
    current = newest > 0 and stored_run.known(newest)["versions"] == stored_run.versions()
    if replace or not current:
        written.append(stored_run.store(newest if current else newest + 1))
    print(
        "\n".join(f"written: {path}" for path in written) or "nothing to store: the versions of today have their files"
    )


if __name__ == "__main__":
    main()
