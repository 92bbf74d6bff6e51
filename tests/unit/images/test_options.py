"""Benchmarks and lists of tasks are accepted, and mistakes are worded so that they can be corrected."""

from typing import Any

import pytest

from milepost.errors import OptionsError
from milepost.images.mlp import ARCHITECTURE
from milepost.images.options import BenchmarkOptions, chosen_tasks
from milepost.options import expanded_yaml, load_options

FILES = "{images: a, labels: b}"
CLASS = ARCHITECTURE.options_class()


def read(text: str = "") -> Any:
    return load_options("options.yaml", CLASS, text=f"architecture: {{name: mlp}}\n{text}")


def mistakes(text: str) -> str:
    with pytest.raises(OptionsError) as error:
        read(text)
    return str(error.value)


def test_digits_are_the_default_trained_as_is_usual() -> None:
    options = read()
    assert options.tasks == BenchmarkOptions(benchmark="seq-digits")
    training = options.architecture.training
    assert (training.optimizer.name, training.optimizer.learning_rate) == ("SGD", 0.03)
    assert (training.schedule.name, training.schedule.warmup_fraction) == ("constant", 0.0)
    assert (training.ema_decay, training.compile, training.epochs, training.batch_size) == (None, False, 1, 10)


def test_another_rate_leaves_the_other_defaults() -> None:
    change = "architecture.training.optimizer.learning_rate=0.1"
    options: Any = load_options("x", CLASS, [change], "architecture: {name: mlp}")
    assert options.architecture.training.optimizer.name == "SGD"


@pytest.mark.parametrize(
    "text",
    [
        "tasks: perm-mnist",
        "tasks: {benchmark: seq-mnist, class_order: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9], classes_per_task: 5}",
        "tasks: {benchmark: rot-mnist, count: 3, validation: 0.1, data_dir: data}",
        f"tasks: [{{name: a, training_set: {FILES}, test_set: {FILES}}}]",
        f"tasks: [{{name: a, training_set: {FILES}, validation_set: {FILES}, test_set: {FILES}}}]",
    ],
)
def test_options_written_out_are_the_same(text: str) -> None:
    options = read(text)
    assert load_options("x", CLASS, text=expanded_yaml(options)) == options


def test_the_name_of_a_benchmark_will_do() -> None:
    assert read("tasks: seq-mnist") == read("tasks: {benchmark: seq-mnist}")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("tasks: seq-mnst", "tasks.benchmark: expected 'seq-digits'"),
        ("tasks: seq-mnst", "found 'seq-mnst'; did you mean 'seq-mnist'?"),
        (
            "tasks: {benchmark: seq-mnist, clas_order: null}",
            "tasks.clas_order: unknown key; did you mean 'class_order'",
        ),
        ("tasks: {class_order: [1, 2]}", "expected a class_order of each number from 0 to 9 once, found [1, 2]"),
        ("tasks: {classes_per_task: 3}", "expected classes_per_task to divide 10, found 3"),
        ("tasks: {benchmark: perm-mnist, classes_per_task: 2}", "every task of 'perm-mnist' has all classes; remove"),
        ("tasks: {benchmark: seq-mnist, count: 3}", "the number of tasks of 'seq-mnist' follows from its classes"),
        ("tasks: {validation: 1}", "tasks.validation: expected a number ≥ 0 and < 1, found 1"),
        ("tasks: []", "expected at least 1 task, found none"),
        ("tasks: [{name: a}]", "tasks.0.training_set: missing; expected a section (images, labels)"),
        (
            f"tasks: [{{name: a, training_set: {{images: a}}, test_set: {FILES}}}]",
            "tasks.0.training_set.labels: missing",
        ),
        ("base_precision: 16", "base_precision: expected 32 or 64, found 16"),
    ],
)
def test_a_mistake_says_what_is_expected(text: str, mistake: str) -> None:
    assert mistake in mistakes(text)


def test_two_tasks_of_one_name_are_refused() -> None:
    task = f"{{name: a, training_set: {FILES}, test_set: {FILES}}}"
    assert "expected every name once, found 'a' more often" in mistakes(f"tasks: [{task}, {task}]")


def test_what_is_neither_a_benchmark_nor_a_list_is_refused() -> None:
    assert "tasks: expected a section (benchmark, " in mistakes("tasks: 5")


def test_the_tasks_of_a_run_are_told_in_plain_values() -> None:
    found = read("seed: 3\ntasks: {benchmark: seq-digits, class_order: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]}\n")
    assert chosen_tasks(found) == {
        "benchmark": "seq-digits",
        "seed": 3,
        "class_order": [1, 0, 2, 3, 4, 5, 6, 7, 8, 9],
        "classes_per_task": None,
        "count": None,
    }
    assert chosen_tasks(read(f"tasks: [{{name: a, training_set: {FILES}, test_set: {FILES}}}]\n")) is None
