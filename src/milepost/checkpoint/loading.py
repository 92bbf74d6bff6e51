"""File → training state, strictly: everything in the file is used, or the caller says what is not.

Files of older versions appear as ones of today's (see `upgrades`).
"""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import torch

from milepost.archive import Archive, Damage, TensorRow, Tree
from milepost.checkpoint.optimizer_states import optimizer_mismatches
from milepost.checkpoint.record import CheckpointRecord, read_record
from milepost.checkpoint.saving import KIND, OPTIONS, SOURCE
from milepost.checkpoint.stateful import Stateful
from milepost.checkpoint.upgrades import UpgradedComponents, described_tensors, saved_version, what_to_install
from milepost.errors import ArchiveError, NotAnArchiveError, StateMismatchError

if TYPE_CHECKING:
    from torch import Tensor

# What the `load_state_dict` of torch's own classes raises where a state does not fit.
_REFUSALS = (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError)


class Checkpoint:
    """An open checkpoint; use it as a context manager. Reading is lazy and verified.

    `version` is the version of the training state that the file holds; what is read is of today's.
    """

    def __init__(self, path: Path | str) -> None:
        self._archive = Archive.open(path)
        self.path = self._archive.path
        with ExitStack() as opened:
            opened.callback(self._archive.close)
            self.record: CheckpointRecord = self._read_record()
            self.version = saved_version(self._archive.manifest.extra)
            self._components = UpgradedComponents(self.version, self._archive.manifest.components, self.path)
            opened.pop_all()  # it is a checkpoint: the file stays open until `close`

    def _read_record(self) -> CheckpointRecord:
        manifest = self._archive.manifest
        if manifest.kind != KIND:
            raise NotAnArchiveError(
                f"could not load '{self.path}' as a checkpoint: expected kind '{KIND}', "
                f"found '{manifest.kind}'. Give the path of a checkpoint."
            )
        try:
            return read_record(manifest.extra)
        except ArchiveError as error:
            raise type(error)(f"could not load '{self.path}' as a checkpoint: {error}") from None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. States that were read stay valid."""
        self._archive.close()

    @property
    def digest(self) -> str:
        """The digest that `save_checkpoint` returned."""
        return self._archive.digest

    @property
    def what_to_install(self) -> str:
        """What to install where something in the file is newer than this installation: the version that wrote it."""
        return what_to_install(self._archive.manifest.extra)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, as files of today have them."""
        return self._components.names

    @property
    def options_yaml(self) -> str:
        """The options that were saved, as text."""
        return self._archive.file(OPTIONS).decode()

    @property
    def source(self) -> dict[str, bytes]:
        """The architecture's code that was saved, by path below `source/`. It is never run from here."""
        names = [name for name in self._archive.manifest.files if name.startswith(SOURCE)]
        return {name.removeprefix(SOURCE): self._archive.file(name) for name in names}

    def state(self, component: str, *, device: torch.device | str = "cpu") -> Tree:
        """Return a component's tree, verified; raises ArchiveError if there is none of that name."""
        return self._components.tree(component, lambda stored: self._archive.tree(stored, device=device))

    def tensor_table(self, component: str) -> list[TensorRow]:
        """Describe a component's tensors without reading them; one that an upgrade makes is made for it, and has no
        digests.
        """
        if self._components.unchanged(component):
            return self._archive.tensor_table(component)
        return described_tensors(component, self.state(component))

    def verify(self) -> list[Damage]:
        """Read every byte; return each damage found."""
        return self._archive.verify()

    def restore(self, targets: Mapping[str, Stateful], *, ignore: Collection[str] = ()) -> None:
        """Load every component into the target of its name; `ignore` names those left aside on purpose.

        Components are compared with the targets before anything is changed: modules down to names, shapes and
        dtypes, optimizers of torch down to groups, their settings and the shapes of the moments. Raises
        StateMismatchError listing every missing, unexpected and mismatched entry; if it was a target itself that
        refused its state, other targets have been restored and none should be used further.
        """
        problems = [f"missing: the file has no component '{name}'" for name in targets if name not in self.components]
        problems += [
            f"unexpected: nothing takes the component '{name}'"
            for name in self.components
            if name not in targets and name not in ignore
        ]
        problems += [f"ignored in vain: the file has no component '{n}'" for n in ignore if n not in self.components]
        states = {name: self.state(name) for name in targets if name in self.components}
        for name, state in states.items():
            target = targets[name]
            if isinstance(target, torch.nn.Module):
                problems += [f"{name}: {problem}" for problem in module_mismatches(target, state)]
            elif isinstance(target, torch.optim.Optimizer):
                problems += [f"{name}: {problem}" for problem in optimizer_mismatches(target, state)]
        if not problems:
            for name, state in states.items():
                try:
                    targets[name].load_state_dict(state)
                except _REFUSALS as error:
                    problems.append(f"{name}: {type(error).__name__}: {error}")
        if problems:
            raise StateMismatchError(
                f"could not restore from '{self.path}':\n  " + "\n  ".join(problems)
                + "\nBuild the objects from the checkpoint's own options, or name what to ignore."
            )  # fmt: skip


def module_mismatches(module: torch.nn.Module, state: Any) -> list[str]:
    """List how a saved state differs from what `module` takes: names, shapes and dtypes."""
    if not isinstance(state, Mapping):
        return [f"mismatched: expected a module's state by name, found {type(state).__name__}"]
    saved, wanted = cast(Mapping[str, Any], state), cast(Mapping[str, Any], module.state_dict())
    problems = [f"missing: '{name}'" for name in wanted if name not in saved]
    problems += [f"unexpected: '{name}'" for name in saved if name not in wanted]
    for name, value in wanted.items():
        if name in saved and _form(value) != _form(saved[name]):
            problems.append(f"mismatched: '{name}': expected {_form(value)}, found {_form(saved[name])}")
    return problems


def _form(value: "Tensor | Any") -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "other state"


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Open a checkpoint, reading its manifest only.

    Raises NotAnArchiveError for another kind of file, also another kind of archive; DamagedArchiveError,
    HostileArchiveError, UnsupportedVersionError; OSError if the file cannot be read.
    """
    return Checkpoint(path)
