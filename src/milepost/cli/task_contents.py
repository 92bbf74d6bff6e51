"""Tell of a checkpoint which task it is from, which learner made it, and how much the learner remembers.

Promise: reads the structure of two components and no tensor. What another writer put in their place is passed over.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from milepost.archive import Archive
from milepost.archive.reader import TensorName
from milepost.errors import OptionsError
from milepost.options import find_value

LEARNER, MATRIX, OPTIONS = "learner", "matrix", "options.yaml"


def tasks_of(archive: Archive) -> dict[str, Any]:
    """Return names of the tasks, and whether they were learned as one; nothing for a file of a single task."""
    if MATRIX not in archive.manifest.components:
        return {}
    outline = archive.outline(MATRIX)
    names = outline.get("tasks") if isinstance(outline, Mapping) else None
    if not isinstance(names, list):
        return {}
    return {"names": [str(name) for name in names], "joint": cast(Mapping[str, Any], outline).get("joint") is True}


def learner_of(archive: Archive) -> dict[str, Any]:
    """Return a learner's name, and the parts of what it remembers: tensors, bytes, and examples where there are any.

    Nothing for a file of a single task whose learner remembers nothing.
    """
    components, files = archive.manifest.components, archive.manifest.files
    if OPTIONS not in files or not {LEARNER, MATRIX}.intersection(components):
        return {}
    text, name = archive.file(OPTIONS).decode(errors="replace"), None
    with suppress(OptionsError):  # another writer's file, or a damaged one: `--verify` tells
        name = find_value(archive.path, "learner.name", text=text)
    return {"name": str(name or "finetune"), "remembers": [*_parts(archive)] if LEARNER in components else []}


def _parts(archive: Archive) -> Iterator[dict[str, Any]]:
    outline = archive.outline(LEARNER)
    sizes = {row.name: row.bytes for row in archive.tensor_table(LEARNER)}
    for name, part in outline.items() if isinstance(outline, Mapping) else ():
        tensors, examples = [*_tensors(part)], _examples(part)
        if tensors or examples is not None:
            size = sum(sizes.get(tensor, 0) for tensor in tensors)
            yield {"name": str(name), "examples": examples, "tensors": len(tensors), "bytes": size}


def _tensors(tree: Any) -> Iterator[str]:
    if isinstance(tree, TensorName):
        yield tree.name
    for inner in _inner(tree):
        yield from _tensors(inner)


def _examples(tree: Any) -> int | None:
    """Count the examples in a buffer, or in all buffers of a part; None where there is no buffer."""
    if isinstance(tree, Mapping) and "fields" in tree and isinstance(tree.get("length"), int):
        return int(tree["length"])
    counts = [count for count in map(_examples, _inner(tree)) if count is not None]
    return sum(counts) if counts else None


def _inner(tree: Any) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        yield from cast(Mapping[Any, Any], tree).values()
    elif isinstance(tree, list | tuple):
        yield from cast(list[Any], tree)
