"""Store what files of today look like, for the tests of tomorrow: `python tests/compat/store.py`.

`cairn-v<version>.json` lists name, shape and type of every parameter and buffer of `cairn` at default options
with three species. Files of a version are kept for good once it is released; this writes those of the version
of today only. Run it after VERSION in `milepost/atoms/cairn/upgrades.py` was raised, or before the version is
released.
"""

import json
from pathlib import Path

from torch import nn

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


def main() -> None:
    """Write the structure of the version of today."""
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in structure(build()).items()]
    path = stored(ARCHITECTURE.version)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(lines)} tensors of {ARCHITECTURE.name} version {ARCHITECTURE.version} written to {path}")


if __name__ == "__main__":
    main()
