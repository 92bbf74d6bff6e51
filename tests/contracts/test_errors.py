"""The error tree drawn in `milepost.errors` is the tree of the classes."""

import inspect
import re

import pytest

from milepost import errors

LINE = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<builtin>\w+)\))?(?: .*)?$")
INDENT = 4


def drawn_tree(drawing: str) -> dict[str, tuple[str, ...]]:
    """Read a drawing: class name to the names of its bases."""
    tree: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in drawing.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        del path[len(match["branch"]) // INDENT :]
        parent = path[-1] if path else "Exception"
        tree[match["name"]] = (parent, match["builtin"]) if match["builtin"] else (parent,)
        path.append(match["name"])
    return tree


def defined_tree() -> dict[str, tuple[str, ...]]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {
        name: tuple(base.__name__ for base in cls.__bases__)
        for name, cls in classes
        if cls.__module__ == errors.__name__
    }


DRAWN = drawn_tree(errors.__doc__ or "")


def test_the_drawing_is_read() -> None:
    assert len(DRAWN) > 15
    assert DRAWN["MilepostError"] == ("Exception",)
    assert DRAWN["HostileArchiveError"] == ("ArchiveError",)


def test_the_drawn_tree_is_the_defined_tree() -> None:
    assert defined_tree() == DRAWN


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("├── CommitError (OSError)", "├── CommitError (ValueError)"),
        ("│   ├── HostileArchiveError ", "├── HostileArchiveError "),
        ("├── DataError (ValueError)", "├── DateError (ValueError)"),
    ],
)
def test_a_drawing_that_differs_is_noticed(old: str, new: str) -> None:
    drawing = errors.__doc__ or ""
    assert old in drawing
    assert drawn_tree(drawing.replace(old, new)) != defined_tree()


@pytest.mark.parametrize("name", [name for name, bases in DRAWN.items() if name != "MilepostError"])
def test_an_error_is_caught_as_one_of_ours_and_as_the_builtin(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, errors.MilepostError)
    assert cls.__doc__
    others = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    assert others[0] is not Exception, f"{name} derives from no built-in that a caller would catch"
