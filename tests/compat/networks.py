"""What the installed architectures are built from and made of: the facts, and the tensors at default options."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from milepost.images.domain import DOMAIN, stream_facts
from milepost.images.options import ImagesOptions
from milepost.images.stream import make_stream
from milepost.model import find_architecture
from milepost.options import load_options

FOLDER = Path(__file__).parent
SPECIES = 3
NAMES = ("cairn", "mlp", "resnet18", "timm")
Rows = dict[str, dict[str, object]]


@functools.cache
def facts(name: str) -> Mapping[str, Any]:
    """Return the facts that a classifier is built from, as a run writes them; those of atoms are in a checkpoint."""
    if name == "cairn":
        return MappingProxyType({})
    options = load_options(
        None, options_class(name), text=f"{{architecture: {{name: {name}}}, tasks: {{benchmark: seq-digits}}}}"
    )
    assert isinstance(options, ImagesOptions)
    stream = make_stream(options, FOLDER, torch.float32, torch.device("cpu"))
    return MappingProxyType(stream_facts(stream, options))


def options_class(name: str) -> Any:
    """Return the class that an architecture's options files are read with."""
    return find_architecture(name).options_class()


def build(name: str) -> nn.Module:
    """Make a network at default options, on no device where that is possible: for three species, or of digits."""
    architecture = find_architecture(name)
    if name == "cairn":
        return architecture.build.load()(architecture.model_options(), species=SPECIES, average_neighbors=8.0)
    options = load_options(None, options_class(name), text=f"architecture: {{name: {name}}}")
    with torch.device("meta"):
        return DOMAIN.rebuild(options, architecture, facts(name))


def structure(network: nn.Module, given: Mapping[str, Any] = MappingProxyType({})) -> Rows:
    """List kind, shape and type by name: of the tensors that a checkpoint of this network holds, and of its facts."""
    parameters = {name for name, _ in network.named_parameters()}
    tensors: Rows = {
        name: {
            "kind": "parameter" if name in parameters else "buffer",
            "shape": list(value.shape),
            "type": str(value.dtype).removeprefix("torch."),
        }
        for name, value in network.state_dict().items()
    }
    return tensors | {
        f"facts.{name}": {"kind": "fact", "shape": _keys(value), "type": type(value).__name__}
        for name, value in given.items()
    }


def _keys(value: Any) -> list[str]:
    return sorted(value) if isinstance(value, dict) else []


def today(name: str) -> Rows:
    """List what an architecture is made of today."""
    return structure(build(name), facts(name))


def stored(name: str, version: int) -> Path:
    """Name the file that lists what a version of an architecture is made of."""
    return FOLDER / "networks" / f"{name}-v{version}.json"


def write(name: str) -> Path:
    """Write what today's version of an architecture is made of."""
    path = stored(name, find_architecture(name).version)
    lines = [f'  "{place}": {json.dumps(row)}' for place, row in today(name).items()]
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path
