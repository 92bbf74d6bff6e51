"""What an architecture must bring to be trained, saved and opened again years later.

An architecture is four files in one folder: its options, its model, its upgrade steps, and an `__init__` that holds
one `Architecture` object under the name that its entry point gives. Importing that `__init__` must not import torch:
options are validated before anything heavy is loaded.

Promise: a model of any earlier version opens, because `upgrade` carries its plain data (options and tensors by name)
step by step to the version of today. A newer version is refused with the version to install.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from milepost.errors import UnsupportedVersionError
from milepost.options import OptionsModel, RootOptions, compose_options

Upgrade = Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
"""One step from a version to the next: (model options, tensors by name) → the same, one version on."""


@dataclass(frozen=True)
class Component:
    """Name an object by module and attribute, so that it is imported when it is wanted and not before."""

    module: str
    attribute: str

    def load(self) -> Any:
        """Import the module and return the object."""
        from importlib import import_module

        return getattr(import_module(self.module), self.attribute)


@dataclass(frozen=True)
class Architecture:
    """Describe one architecture.

    `name` is what users write in their options; `root_options` is the class that the whole of a file is read with;
    `domain` locates the domain that trains it; `build` locates a function
    of keyword arguments that makes the model; `upgrades[v]` leads from version v to v + 1, so that there is one for
    every version before `version`.
    """

    name: str
    version: int
    summary: str
    root_options: type[RootOptions]
    domain: Component
    build: Component
    model_options: type[OptionsModel]
    training_options: type[OptionsModel]
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict[int, Upgrade])

    def __post_init__(self) -> None:
        expected = set(range(1, self.version))
        if set(self.upgrades) != expected:
            raise ValueError(
                f"architecture '{self.name}' can't open its older files: expected upgrade steps from the versions "
                f"{sorted(expected)}, found {sorted(self.upgrades)}. Add the missing steps."
            )

    def options_class(self) -> type[RootOptions]:
        """Return the class that validates a whole options file for this architecture."""
        return compose_options(self.root_options, self.model_options, self.training_options)

    def upgrade(
        self,
        version: int,
        options: dict[str, Any],
        tensors: dict[str, Any],
        *,
        to_install: str = "install a newer milepost",
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Carry saved model options and tensors from their version to today's.

        Raises UnsupportedVersionError, with what is `to_install`, when the file is newer than this installation knows.
        """
        if not 1 <= version <= self.version:
            raise UnsupportedVersionError(
                f"could not open a model of architecture '{self.name}': expected version 1 to {self.version}, "
                f"found {version}: {to_install}."
            )
        for step in range(version, self.version):
            options, tensors = self.upgrades[step](options, tensors)
        return options, tensors
