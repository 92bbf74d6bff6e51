"""An options file is read with every mistake in one report: the architecture's name and missing files too."""

from pathlib import Path

import pytest

from milepost.cli.validation import read_options
from milepost.errors import OptionsError
from milepost.model import registry


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Go to a directory with one file of structures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames.xyz").touch()
    return tmp_path


def mistakes(text: str, **keywords: bool) -> list[str]:
    """Write an options file, read it, and return the lines of the report."""
    Path("options.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(OptionsError) as report:
        read_options(Path("options.yaml"), **keywords)
    return [line.strip() for line in str(report.value).splitlines()[1:-1]]


def test_a_sound_file_gives_options_and_architecture(folder) -> None:
    Path("options.yaml").write_text("architecture: {name: cairn}\ntraining_set: frames.xyz\n", encoding="utf-8")
    options, architecture = read_options(Path("options.yaml"), ("seed=4",), for_training=True)
    assert architecture.name == "cairn"
    assert options.seed == 4


def test_a_mistyped_architecture_is_one_mistake_among_others(folder) -> None:
    found = mistakes("seed: one\narchitecture:\n  name: carin\n  training: {epochz: 3}\ntraining_set: frames.xyz\n")
    assert len(found) == 3
    assert found[0].startswith("options.yaml:1  seed: expected an integer")
    expected = "expected 'cairn', 'mlp', 'resnet18' or 'timm', found 'carin'; did you mean 'cairn'?"
    assert found[1] == f"options.yaml:3  architecture.name: {expected}"
    assert found[2].startswith("options.yaml:4  architecture.training.epochz: unknown key; did you mean 'epochs'?")


def test_what_an_unknown_architecture_takes_is_not_guessed(folder) -> None:
    found = mistakes("architecture:\n  name: pet\n  model: {d_pet: 3}\ntraining_sett: frames.xyz\n")
    assert len(found) == 3
    assert "training_set: missing" in found[0]
    assert found[1] == "options.yaml:2  architecture.name: expected 'cairn', 'mlp', 'resnet18' or 'timm', found 'pet'"
    assert "training_sett: unknown key; did you mean 'training_set'?" in found[2]


def test_the_domain_of_an_unknown_architecture_shows_in_the_keys(folder) -> None:
    found = mistakes("architecture: {name: convnet}\ntasks: {benchmark: seq-digits}\n")
    assert len(found) == 1
    assert "architecture.name: expected 'cairn', 'mlp'" in found[0]


def test_a_mistyped_learner_and_a_mistyped_key_of_one(folder) -> None:
    found = mistakes("architecture: {name: mlp}\nlearner: {name: dreppp}\n")
    assert len(found) == 1
    assert "learner.name: expected" in found[0]
    assert "did you mean 'derpp'?" in found[0]
    found = mistakes("architecture: {name: mlp}\nlearner: {name: derpp, bufer_size: 3}\n")
    assert found == ["options.yaml:2  learner.bufer_size: unknown key; did you mean 'buffer_size'?"]


@pytest.mark.parametrize(
    ("written", "overrides", "expected"),
    [
        ("er", (), {"name": "er", "buffer_size": 200}),
        ("er", ("learner.buffer_size=7",), {"name": "er", "buffer_size": 7}),
        ("er", ("learner.name=derpp",), {"name": "derpp", "buffer_size": 200}),
        ("er", ("learner.name=derpp", "learner.alpha=2"), {"name": "derpp", "alpha": 2.0}),
        ("{name: derpp, alpha: 3}", ("learner=er",), {"name": "er", "buffer_size": 200}),
        ("{name: er, buffer_size: 3}", ("learner.name=derpp",), {"name": "derpp", "buffer_size": 3}),
    ],
)
def test_a_learners_name_will_do(folder, written: str, overrides: tuple[str, ...], expected) -> None:
    Path("options.yaml").write_text(f"architecture: {{name: mlp}}\nlearner: {written}\n", encoding="utf-8")
    learner = read_options(Path("options.yaml"), overrides)[0].learner.model_dump()
    assert {key: learner[key] for key in expected} == expected


def test_a_mistyped_name_of_a_learner_alone(folder) -> None:
    (found,) = mistakes("architecture: {name: mlp}\nlearner: err\n")
    assert "learner.name: expected" in found
    assert found.endswith("found 'err'; did you mean 'er'?")


@pytest.mark.parametrize("name", ["", "  name: 3\n", "  name: null\n"], ids=["absent", "a number", "null"])
def test_a_name_that_is_no_name(folder, name) -> None:
    found = mistakes(f"architecture:\n  model: {{}}\n{name}training_set: frames.xyz\n")
    assert len(found) == 1
    assert "architecture.name" in found[0]
    assert "expected 'cairn', 'mlp'" in found[0] or "missing" in found[0]


def test_without_any_architecture_the_generic_options_report(folder, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_points", dict)
    found = mistakes("seed: -1\narchitecture: {name: cairn}\n")
    assert len(found) == 1
    assert "seed" in found[0]


FILES = """\
architecture:
  name: cairn
  training:
    finetune: {read_from: gone.ckpt}
training_set:
  systems: {read_from: frame.xyz}
validation_set: other.xyz
test_set:
  systems: {read_from: ["frames.xyz", "data/*.xyz"]}
"""


def test_missing_files_are_reported_at_their_lines(folder) -> None:
    found = mistakes(FILES, for_training=True)
    assert len(found) == 4
    where = f"from '{folder}'"
    assert found[0] == (
        f"options.yaml:4  architecture.training.finetune.read_from: expected a file, found none of the name "
        f"'gone.ckpt' {where}"
    )
    assert found[1] == (
        "options.yaml:6  training_set.systems.read_from: expected a file, found none of the name "
        f"'frame.xyz' {where}; did you mean 'frames.xyz'?"
    )
    assert found[2].startswith("options.yaml:7  validation_set: expected a file, found none of the name 'other.xyz'")
    assert found[3] == (
        f"options.yaml:9  test_set.systems.read_from: expected at least 1 file that matches 'data/*.xyz', "
        f"found 0 {where}"
    )


TASKS = """\
architecture: {name: cairn}
tasks:
- name: first
  training_set: frames.xyz
- name: second
  training_set:
    systems: {read_from: ["frames.xyz", frame.xyz]}
  test_set: other.xyz
"""


def test_missing_files_of_tasks_are_reported_at_their_lines(folder) -> None:
    found = mistakes(TASKS, for_training=True)
    assert len(found) == 2
    assert found[0].startswith("options.yaml:7  tasks.1.training_set.systems.read_from: expected a file, found none of")
    assert found[1].startswith("options.yaml:8  tasks.1.test_set: expected a file, found none of the name 'other.xyz'")


def test_the_ancestor_may_be_gone_when_a_run_is_continued(folder) -> None:
    assert not any("gone.ckpt" in line for line in mistakes(FILES, for_training=True, ancestor=False))


def test_a_directory_is_no_file(folder) -> None:
    (folder / "data").mkdir()
    found = mistakes("architecture: {name: cairn}\ntraining_set: data\n", for_training=True)
    assert "expected a file, found the directory 'data'" in found[0]


def test_files_are_not_looked_for_unless_asked(folder) -> None:
    Path("options.yaml").write_text("architecture: {name: cairn}\ntraining_set: none.xyz\n", encoding="utf-8")
    options, _ = read_options(Path("options.yaml"))
    assert options.architecture.name == "cairn"
