"""The page on learners of one's own: its files make a package that can be trained, stopped and continued."""

import dataclasses
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs.pages import ROOT, blocks, commands
from milepost.cli import main
from milepost.errors import ConformanceError
from milepost.learning import find_learner, pictures

PAGE = ROOT / "docs" / "how-to" / "write-a-learner.md"
BLOCKS = list(blocks(PAGE))
QUICK = ("-r", "checkpoints.durability=process", "-r", "architecture.training.batch_size=100", "--no-export")
PACKAGE = "milepost_balanced"


def files() -> dict[str, str]:
    """Return the files that the page writes, by the name that stands before each."""
    texts = (block.text for block in BLOCKS if block.language in ("toml", "python"))
    names = re.findall(r"^`([\w./]+)`:.*?^```(?:toml|python)$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return dict(zip(names, texts, strict=False))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay the files out as an installation does: the sources on the path, and the metadata that pip writes."""
    for name, text in files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]
    metadata = tmp_path / "src" / f"{PACKAGE}-{project['version']}.dist-info"
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items())
        for group, points in project["entry-points"].items()
    )
    metadata.joinpath("entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    for module in (PACKAGE, f"{PACKAGE}.learner"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "src")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for module in (PACKAGE, f"{PACKAGE}.learner"):
        sys.modules.pop(module, None)


def test_the_page_names_four_files() -> None:
    assert list(files()) == [
        "pyproject.toml", f"src/{PACKAGE}/__init__.py", f"src/{PACKAGE}/learner.py", "tests/test_learner.py",
    ]  # fmt: skip


def test_its_upgrade_step_leads_from_the_state_that_the_class_returns(installed: Path) -> None:
    (step,) = (block.text for block in BLOCKS if block.language == "python" and block.text not in files().values())
    names: dict[str, Any] = {}
    exec(compile(step, "step.py", "exec"), names)
    first = find_learner("balanced")
    spec = dataclasses.replace(first, version=2, upgrades={1: names["second"]})
    assert spec.upgrade(1, {"weight": 1.0}, {"buffer": {}, "drawn": 3}) == ({"weight": 1.0}, {"buffer": {}, "draws": 3})
    assert '{"buffer": self.buffer.state_dict(), "drawn": self.drawn}' in files()[f"src/{PACKAGE}/learner.py"]


def test_it_keeps_the_rules(installed: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(files()["tests/test_learner.py"], "test_learner.py", "exec"), names)
    names["test_it_keeps_the_rules"]()  # type: ignore[operator]


def test_without_its_counter_it_breaks_the_rule_that_the_page_shows(installed: Path) -> None:
    path = installed / "src" / PACKAGE / "learner.py"
    text = path.read_text("utf-8")
    broken = text.replace(', "drawn": self.drawn', "").replace('self.drawn = state["drawn"]', "pass")
    assert broken.count("drawn") == text.count("drawn") - 4
    path.write_text(broken, encoding="utf-8")
    names: dict[str, object] = {}
    exec(compile(files()["tests/test_learner.py"], "test_learner.py", "exec"), names)
    (said,) = (" ".join(block.text.split()) for block in BLOCKS if block.language == "text")
    with pytest.raises(ConformanceError) as found:
        names["test_it_keeps_the_rules"]()  # type: ignore[operator]
    numbers = re.compile(r"-?\d\.\d+")
    assert numbers.sub("*", " ".join(str(found.value).split())) == numbers.sub("*", said)


def test_it_is_used_as_the_page_says(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "draw_matrix", lambda matrix, folder: None)
    (options,) = (block.text for block in BLOCKS if block.language == "yaml")
    Path("options.yaml").write_text(options, encoding="utf-8")
    shown: dict[str, str] = {}
    for call in (call for block in BLOCKS if block.language == "console" for call in commands(block, "milepost")):
        with pytest.raises(SystemExit) as ended:
            main([*call, *(QUICK if call[0] == "train" else ())])
        assert ended.value.code in (0, None), call
        shown[call[0]] = capsys.readouterr().out
    assert re.search(r"^balanced +replays as many .* \(buffer_size, weight\)$", shown["learners"], re.MULTILINE)
    assert "weight: 0.5  # Weight of the loss on replayed examples" in shown["options"]
    assert Path("model.ckpt").is_file()
