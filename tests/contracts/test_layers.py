"""Rules that every file of the package keeps; each rule is shown to fire on a file that breaks it.

Which layer may import which is checked by import-linter (`make check`).
"""

import ast
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import milepost

SOURCE = Path(milepost.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(
    ".".join(("milepost", *file.parent.relative_to(SOURCE).parts)) for file in FILES if file.name == "__init__.py"
)

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
# Rooms without a name: what is in them belongs to a layer that has one.
NAMELESS = {"base", "common", "helpers", "misc", "tools", "util", "utils"}
# Layers that serve every domain, and the words of two domains that they must not know.
BELOW_LEARNING = ("errors.py", "archive", "options", "hub", "model", "checkpoint", "package")
DOMAIN_WORD = re.compile(r"(?<![a-z])(atoms?|forces?|images?|pixels?)(?![a-z])", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
UNPICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# Functions of torch and numpy that write or read pickles, as they are called.
PICKLING_CALLS = {"torch.load", "torch.save", "numpy.load", "np.load", "numpy.save", "np.save"}
# Files (relative to the package) that may call one of them, each with its reason.
PICKLING_ALLOWED: dict[str, set[str]] = {
    # `milepost convert` writes a plain state dict for programs that read nothing else, and reads that draft back.
    "checkpoint/weight_files.py": {"torch.load", "torch.save"},
}


def too_long(name: str, text: str) -> list[str]:
    """Find files and functions that hold more than one idea."""
    lines = len(text.splitlines())
    found = [f"{lines} lines, at most {LINES_OF_A_FILE - 1} expected"] if lines >= LINES_OF_A_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size >= LINES_OF_A_FUNCTION:
                found.append(f"line {node.lineno}: {node.name} has {size} lines")
    return found


def without_docstring(name: str, text: str) -> list[str]:
    """Find modules that promise nothing."""
    return [] if ast.get_docstring(ast.parse(text)) else ["no docstring at the top"]


def nameless(name: str, text: str) -> list[str]:
    """Find modules and folders named after nothing."""
    return [f"{part!r} is no name" for part in Path(name).with_suffix("").parts if part in NAMELESS]


def asserting(name: str, text: str) -> list[str]:
    """Find assertions: they vanish under `python -O`, and tell a user nothing."""
    return [f"line {n.lineno}: assert" for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Assert)]


def catching_everything(name: str, text: str) -> list[str]:
    """Find handlers that swallow errors nobody thought of; one that raises again swallows nothing."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)
            if broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                found.append(f"line {node.lineno}: catches every error")
    return found


def unfinished(name: str, text: str) -> list[str]:
    """Find marks of unfinished work."""
    return [
        f"line {number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := UNFINISHED.search(line))
    ]


def pickling(name: str, text: str) -> list[str]:
    """Find whatever writes or reads pickles: opening a file must run no code."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            names = [ast.unparse(node.func)]
        else:
            continue
        for used in names:
            forbidden = used in PICKLING_CALLS or used.partition(".")[0] in UNPICKLING
            if forbidden and used not in PICKLING_ALLOWED.get(name, set()):
                found.append(f"line {node.lineno}: {used}")
    return found


def knowing_a_domain(name: str, text: str) -> list[str]:
    """Find words of one domain in the layers that serve them all."""
    if Path(name).parts[0] not in BELOW_LEARNING:
        return []
    return [
        f"line {number}: {match[0]!r}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := DOMAIN_WORD.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", line)))
    ]


Rule = Callable[[str, str], list[str]]
RULES: tuple[Rule, ...] = (
    too_long,
    without_docstring,
    nameless,
    asserting,
    catching_everything,
    unfinished,
    pickling,
    knowing_a_domain,
)
BREACHES: list[tuple[Rule, str, str]] = [
    (too_long, "run/loop.py", "\n" * LINES_OF_A_FILE),
    (too_long, "run/loop.py", "def f():\n" + "    pass\n" * LINES_OF_A_FUNCTION),
    (without_docstring, "run/loop.py", "import os\n"),
    (nameless, "run/utils.py", ""),
    (nameless, "common/loop.py", ""),
    (asserting, "run/loop.py", "def f(x):\n    assert x\n"),
    (catching_everything, "run/loop.py", "try:\n    f()\nexcept Exception:\n    g()\n"),
    (catching_everything, "run/loop.py", "try:\n    f()\nexcept (OSError, BaseException):\n    g()\n"),
    (catching_everything, "run/loop.py", "try:\n    f()\nexcept:\n    g()\n"),
    (unfinished, "run/loop.py", "x = 1  # TODO: more\n"),
    (unfinished, "run/loop.py", "raise NotImplementedError\n"),
    (pickling, "run/loop.py", "import pickle\n"),
    (pickling, "run/loop.py", "from torch import load\n"),
    (pickling, "run/loop.py", "torch.save(state, path)\n"),
    (pickling, "run/loop.py", "x = np.load(path, allow_pickle=False)\n"),
    (knowing_a_domain, "archive/reader.py", "def read(num_atoms): ...\n"),
    (knowing_a_domain, "options/sections.py", "class ForceTarget: ...\n"),
    (knowing_a_domain, "errors.py", '"""Images."""\n'),
]
INNOCENT: list[tuple[Rule, str, str]] = [
    (catching_everything, "run/loop.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
    (knowing_a_domain, "archive/commit.py", "def atomic_write(path): ...  # enforced, imagined\n"),
    (knowing_a_domain, "atoms/data.py", "forces = atoms.get_forces()\n"),
    (pickling, "run/loop.py", "options.load(path)\n"),
]


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 10
    assert len(PACKAGES) > 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_keeps_the_rule(file: Path, rule: Rule) -> None:
    assert rule(str(file.relative_to(SOURCE)), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("rule", "name", "text"), BREACHES)
def test_a_breach_is_found(rule: Rule, name: str, text: str) -> None:
    assert rule(name, text) != []


def test_every_rule_is_shown_to_fire() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


@pytest.mark.parametrize(("rule", "name", "text"), INNOCENT)
def test_what_only_looks_like_a_breach_is_left_alone(rule: Rule, name: str, text: str) -> None:
    assert rule(name, text) == []


def undeclared(module: ModuleType) -> list[str]:
    """Find names that a package promises and lacks, or defines without promising them.

    Names that it imports and neither promises nor uses are found by ruff (F401).
    """
    promised = getattr(module, "__all__", None)
    if promised is None:
        return ["no __all__"]
    found = [f"{name!r} is promised and missing" for name in promised if not hasattr(module, name)]
    defined = [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]
    return found + [f"{name!r} is public and not in __all__" for name in defined if name not in promised]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_the_names_it_promises_and_defines_no_others(package: str) -> None:
    assert undeclared(importlib.import_module(package)) == []


def test_a_package_that_promises_wrongly_is_found() -> None:
    package = ModuleType("example")
    assert undeclared(package) == ["no __all__"]
    exec(
        "__all__ = ['present', 'absent']\ndef present(): ...\ndef extra(): ...\ndef _own(): ...",
        vars(package),
    )
    assert undeclared(package) == ["'absent' is promised and missing", "'extra' is public and not in __all__"]
