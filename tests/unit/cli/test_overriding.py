"""The command line chooses another learner, and adds keys to tasks that are given by name."""

from pathlib import Path

import pytest

from milepost.cli.task_options import FOLDER
from milepost.cli.validation import read_options
from milepost.errors import OptionsError
from milepost.options.overrides import Typed

FILE = """\
architecture: {name: mlp}
tasks: seq-mnist
learner: {name: derpp, buffer_size: 500, beta: 0.5}
"""


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "options.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_another_learner_does_not_get_the_keys_of_the_one_before(path) -> None:
    assert read_options(path, ("learner.name=finetune",))[0].learner.name == "finetune"
    learner = read_options(path, ("learner.buffer_size=30", "learner.name=er"))[0].learner
    assert (learner.name, learner.buffer_size) == ("er", 30)


def test_another_learner_has_the_memory_that_the_file_gives_to_the_one_before(path) -> None:
    """Or runs of two learners would be compared that keep different amounts of data."""
    path.write_text(FILE.replace("buffer_size: 500", "buffer_size: 500, minibatch_size: 7"), encoding="utf-8")
    learner = read_options(path, ("learner.name=er",))[0].learner
    assert (learner.name, learner.buffer_size, learner.minibatch_size) == ("er", 500, 7)
    assert read_options(path, ("learner.name=gdumb",))[0].learner.buffer_size == 500
    assert read_options(path, ("learner.name=er", "learner.buffer_size=30"))[0].learner.buffer_size == 30


def test_the_same_learner_keeps_its_keys(path) -> None:
    learner = read_options(path, ("learner.name=derpp", "learner.alpha=2"))[0].learner
    assert (learner.buffer_size, learner.alpha, learner.beta) == (500, 2.0, 0.5)


def test_keys_are_added_to_tasks_that_are_a_name(path) -> None:
    tasks = read_options(path, ("tasks.data_dir=somewhere",))[0].tasks
    assert (tasks.benchmark, tasks.data_dir) == ("seq-mnist", "somewhere")
    assert read_options(path)[0].tasks.benchmark == "seq-mnist"


def test_a_folder_for_a_benchmark_is_taken(path) -> None:
    tasks = read_options(path, (Typed(f"{FOLDER}=there", "--data-dir there"),), for_training=False)[0].tasks
    assert (tasks.benchmark, tasks.data_dir) == ("seq-mnist", "there")


IMAGES = "{images: a.npy, labels: b.npy}"
ATOMS = "architecture: {name: cairn}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            f"architecture: {{name: mlp}}\ntasks:\n- {{name: a, training_set: {IMAGES}, test_set: {IMAGES}}}\n",
            "a list of tasks",
        ),
        (f"{ATOMS}tasks:\n- {{name: a, training_set: a.xyz}}\n", "a list of tasks"),
        (f"{ATOMS}training_set: a.xyz\n", "none"),
    ],
)
def test_a_folder_is_refused_in_the_words_of_the_flag_where_there_is_no_benchmark(path, text, found) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionsError) as caught:
        read_options(path, (Typed(f'{FOLDER}="foo"', "--data-dir foo"),), for_training=True)
    mistakes = [line for line in str(caught.value).splitlines() if "data" in line and "tasks" in line]
    assert len(mistakes) == 1
    assert mistakes[0].endswith(
        f"tasks: --data-dir foo: expected a benchmark under tasks, found {found}; leave it away, "
        "paths stand in the file"
    )
    assert "data_dir" not in str(caught.value)
