"""Old checkpoints → ones of today's versions; checkpoints and files of other programs → safetensors, state dict, .ckpt.

Promise: nothing is ever replaced; the target is read back and compared with what was read from the source before it
gets its name. What the target has no place for is named.
Failure: ConversionError, OverwriteError, CommitError, UnknownArchitectureError; the ArchiveError family where the
source cannot be read. In every case nothing is left under the target's name.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from milepost.archive import Tree, atomic_write, kind_of, write_archive
from milepost.archive.digest import named
from milepost.archive.source import Source
from milepost.checkpoint.loading import Checkpoint, load_checkpoint
from milepost.checkpoint.record import CheckpointRecord, manifest_keys
from milepost.checkpoint.renewing import Renew, renewed
from milepost.checkpoint.saving import KIND, OPTIONS
from milepost.checkpoint.selection import RAW, Choice, Weights, foreign_weights, own_weights
from milepost.checkpoint.weight_files import CheckedFileSystem, PlainFile, SafetensorsFile, StateDictFile, compare, ties
from milepost.errors import ConversionError, NotAnArchiveError, OverwriteError

if TYPE_CHECKING:
    from milepost.checkpoint.foreign import ForeignFile

FORMS = {
    ".safetensors": "weights, as safetensors",
    ".pt": "weights, as a plain state dict",
    ".ckpt": "checkpoint",
}
"""What is written, by the suffix of the target."""

OTHER = "other"
"""Component for the tensors of another program's file that are not its weights."""


@dataclass(frozen=True)
class Conversion:
    """Say what was written: `form` as in FORMS, from what, and in `notes` what a reader must know about it."""

    source: Path
    target: Path
    kind: str
    form: str
    tensors: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Arrangement:
    """Lay out another program's file as the checkpoint from which that program's plug-in resumes."""

    components: Mapping[str, Tree]
    versions: Mapping[str, int]
    options_yaml: str = ""
    notes: tuple[str, ...] = ()


Arrange = Callable[["ForeignFile"], Arrangement | None]
"""Lay a file out; None where the plug-in that would resume from it is not installed."""


def convert(
    source: Path | str,
    target: Path | str,
    *,
    weights: Choice | None = None,
    arrange: Mapping[str, Arrange] = MappingProxyType({}),
    renew: Renew | None = None,
) -> Conversion:
    """Write `source`, a checkpoint or a file of another program, as the kind of file that the target's suffix names.

    A checkpoint becomes a `.ckpt` with everything in it, at today's versions; `renew` carries what its learner keeps.
    Of any file, `.safetensors` and `.pt` take the weights: those that `weights` chooses, else the average where there
    is one. Another program's file becomes a `.ckpt` with all its tensors and plain metadata: as `arrange` lays out its
    kind, else with its weights as one component and its other tensors as another. Nothing in the source is run,
    nothing is replaced.
    """
    source, target = Path(source), Path(target)
    _check_target(target)
    kind = kind_of(source) if source.is_file() else None
    if kind is not None:
        return _own(source, target, weights, renew)
    from milepost.checkpoint.foreign import open_foreign

    found = open_foreign(source)
    if found is None:
        raise NotAnArchiveError(
            f"could not convert '{source}': expected a checkpoint or a file of weights, found something else. "
            "`milepost show` says what it is."
        )
    if target.suffix != ".ckpt":
        return _foreign_weights(source, found, target, weights)
    arranged = arrange[found.kind](found) if found.kind in arrange else None
    if arranged is not None:
        _check_no_choice(source, weights)
    return _foreign_checkpoint(source, found, target, arranged or _arranged(found, source, weights))


LayOut = Callable[[Checkpoint], tuple[Mapping[str, Any], list[str]]]
"""Lays a checkpoint out as another program has its own; returns the content, and what to know about it."""


def convert_for(program: str, source: Path | str, target: Path | str, lay_out: LayOut) -> Conversion:
    """Write a checkpoint as a `.pt` file that is laid out for another program; nothing is replaced."""
    source, target = Path(source), Path(target)
    if target.suffix != ".pt":
        raise ConversionError(
            f"could not convert to '{target}' for {program}: expected a name that ends in .pt, found "
            f"'{target.suffix or target.name}'. Name another file."
        )
    _check_target(target)
    with load_checkpoint(source) as checkpoint:
        tree, notes = lay_out(checkpoint)
    file = PlainFile(target, tree)
    atomic_write(target, file.write, filesystem=CheckedFileSystem(file.check))
    return Conversion(source, target, KIND, f"for {program}", _tensor_count(tree), tuple(notes))


def _tensor_count(tree: object) -> int:
    if isinstance(tree, Mapping):
        return sum(map(_tensor_count, cast(Mapping[Any, Any], tree).values()))
    if isinstance(tree, list | tuple):
        return sum(map(_tensor_count, cast(list[Any], tree)))
    return int(hasattr(tree, "dtype"))


def _check_target(target: Path) -> None:
    if target.suffix not in FORMS:
        raise ConversionError(
            f"could not convert to '{target}': expected a name that ends in {', '.join(FORMS)}, "
            f"found '{target.suffix or target.name}'. The ending chooses what is written."
        )
    if os.path.lexists(target):
        raise OverwriteError(
            f"could not convert to '{target}': expected a free name, found a file. Nothing is ever replaced: choose "
            "another name."
        )
    if not target.parent.is_dir():
        raise ConversionError(
            f"could not convert to '{target}': expected the folder '{target.parent}', found none. Create it first."
        )


def _own(source: Path, target: Path, choice: Choice | None, renew: Renew | None) -> Conversion:
    with load_checkpoint(source) as checkpoint:
        if target.suffix != ".ckpt":
            chosen = own_weights(checkpoint, choice)
            notes = _write_weights(chosen, target)
            return Conversion(source, target, KIND, FORMS[target.suffix], len(chosen.tensors), tuple(notes))
        _check_no_choice(source, choice)
        return _renewed(checkpoint, target, renew)


def _check_no_choice(source: Path, choice: Choice | None) -> None:
    if choice is not None:
        raise ConversionError(
            f"could not convert '{source}' to a checkpoint of its {choice} weights: expected all of its "
            "components to stay, found a choice. Convert to .safetensors or .pt, or leave the choice away."
        )


def _write_weights(chosen: Weights, target: Path) -> list[str]:
    """Write weights and nothing else; return what to know about them."""
    kinds = {".safetensors": SafetensorsFile, ".pt": StateDictFile}
    file = kinds[target.suffix](target, chosen.tensors)
    atomic_write(target, file.write, filesystem=CheckedFileSystem(file.check))
    tied = ties(chosen.tensors)
    notes = [f"weights: {chosen.origin}", *_left_out(chosen)]
    if tied and target.suffix == ".safetensors":
        names = ", ".join(f"{name} is {kept}" for name, kept in tied.items())
        notes.append(f"tied tensors are stored once ({names}): load them with safetensors.torch.load_model")
    return notes


def _left_out(chosen: Weights) -> tuple[str, ...]:
    return tuple(f"left out of {chosen.origin}: {what}" for what in chosen.left_out)


def _renewed(checkpoint: Checkpoint, target: Path, renew: Renew | None) -> Conversion:
    """Write a whole checkpoint at the versions of today."""
    today = renewed(checkpoint, renew)
    _write_checkpoint(target, today.state, today.files, today.keys)
    tensors = sum(len(checkpoint.tensor_table(name)) for name in today.state if name in checkpoint.components)
    return Conversion(checkpoint.path, target, KIND, FORMS[".ckpt"], tensors, today.notes)


def _foreign_weights(source: Path, found: "ForeignFile", target: Path, choice: Choice | None) -> Conversion:
    chosen = foreign_weights(found, source, choice)
    notes = _write_weights(chosen, target)
    if chosen.others:
        notes.append(f"left out, elsewhere in the file: {_listed(tuple(chosen.others))}")
    notes += (f"left out, elsewhere in the file: {what}" for what in chosen.elsewhere)
    return Conversion(source, target, found.kind, FORMS[target.suffix], len(chosen.tensors), tuple(notes))


def _arranged(found: "ForeignFile", source: Path, choice: Choice | None) -> Arrangement:
    """Lay out a file of a program that has no plug-in here: its weights, and its other tensors."""
    # What the metadata say has its place in the record.
    taken = {*found.metadata, *(f"model_data.{name}" for name in ("model_hypers", "hypers"))}
    chosen = foreign_weights(found, source, choice, taken)
    components = {RAW[0]: dict(chosen.tensors)}
    components |= {OTHER: dict(chosen.others)} if chosen.others else {}
    elsewhere = (f"left out, elsewhere in the file: {what}" for what in (*chosen.elsewhere, *chosen.values))
    return Arrangement(components, {}, notes=(*_left_out(chosen), *elsewhere))


def _foreign_checkpoint(source: Path, found: "ForeignFile", target: Path, arranged: Arrangement) -> Conversion:
    """Write everything of another program's file that a checkpoint has a place for."""
    origin = {"kind": found.kind, **_digest(source)}
    counts = {key: _count(found.metadata, *names) for key, names in _COUNTS.items()}
    record = CheckpointRecord(
        step=counts["step"],
        epoch=counts["epoch"],
        metadata={"converted_from": origin, "foreign": dict(found.metadata)},
        versions=arranged.versions,
    )
    files = {OPTIONS: arranged.options_yaml.encode()}
    _write_checkpoint(target, arranged.components, files, manifest_keys(record))
    with load_checkpoint(target) as written:
        counted = {name: len(written.tensor_table(name)) for name in written.components}
    notes = [*(f"component '{name}': {_tensors(count)}" for name, count in counted.items()), *arranged.notes]
    return Conversion(source, target, found.kind, FORMS[".ckpt"], sum(counted.values()), tuple(notes))


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"


def _listed(names: tuple[str, ...]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


_COUNTS = {"step": ("global_step", "step"), "epoch": ("epoch",)}


def _count(metadata: Mapping[str, Any], *names: str) -> int:
    values = (metadata.get(name) for name in names)
    return next((value for value in values if type(value) is int and value >= 0), 0)


def _digest(source: Path) -> dict[str, str]:
    """Identify a file of another program by all its bytes; a folder has no digest."""
    if not source.is_file():
        return {}
    with Source(source) as content:
        return {"digest": named(content.hash_range(0, content.size))}


def _write_checkpoint(
    target: Path, state: Mapping[str, Tree], files: Mapping[str, bytes], keys: Mapping[str, Any]
) -> None:
    checked = CheckedFileSystem(partial(_check, target, state))
    write_archive(target, kind=KIND, components=state, files=files, manifest=keys, filesystem=checked)


def _check(target: Path, state: Mapping[str, Tree], draft: Path) -> None:
    """Read a draft back whole, and compare every value with what it was written from."""
    with load_checkpoint(draft) as written:
        damages = written.verify()
        if damages:
            raise ConversionError(
                f"could not convert to '{target}': {'; '.join(map(str, damages))}. Check the disk, then convert again."
            )
        for name, tree in state.items():
            compare(target, tree, written.state(name), (name,))
