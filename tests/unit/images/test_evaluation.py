"""Evaluating a classifier: right answers among all classes and among a task's own, on a benchmark and on files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milepost.errors import DataError, OptionsError, OverwriteError
from milepost.images.evaluation import (
    Evaluation,
    EvaluationOptions,
    Part,
    as_learned,
    evaluate_engine,
    read_parts,
)
from milepost.images.exporting_graph import ClassifierFacts
from milepost.images.preprocessing import Preprocessing
from milepost.options import load_options

FACTS = ClassifierFacts((1, 1, 4), ("a", "b", "c", "d"), Preprocessing())


class Oracle:
    """Take the brightness of a class's pixel for its probability; remember how many images came at once."""

    def __init__(self, facts: ClassifierFacts = FACTS) -> None:
        self.facts = facts
        self.sizes: list[int] = []

    def predict(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
        self.sizes.append(len(images))
        values = images.reshape(len(images), -1)[:, : len(self.facts.names)] / 255.0
        return {"logits": values, "probabilities": values}


def options(**given: Any) -> EvaluationOptions:
    return EvaluationOptions(images="x", labels="y", **given)


def part(rows: list[list[int]], labels: list[int], classes: tuple[int, ...] = (), name: str = "") -> Part:
    return Part(name, np.array(rows, np.uint8).reshape(-1, 1, 1, 4), np.array(labels), classes)


TASKS = [
    part([[9, 8, 0, 0], [8, 9, 0, 0], [1, 2, 9, 9], [9, 8, 7, 6]], [0, 1, 1, 1], (0, 1), "a-b"),
    part([[9, 8, 1, 0], [0, 0, 9, 1]], [2, 2], (2, 3), "c-d"),
]


def evaluated(parts: list[Part], **given: Any) -> Evaluation:
    return evaluate_engine(Oracle(), parts, options(**given))


def test_right_answers_are_counted_among_all_classes_and_among_the_tasks_own() -> None:
    found = evaluated(TASKS)
    assert [(task.accuracy, task.task_accuracy) for task in found.tasks] == [(50.0, 75.0), (50.0, 100.0)]


def test_every_task_counts_alike() -> None:
    """As in the matrix of a run, though there are twice as many images of the first."""
    assert evaluated(TASKS).metrics == {"accuracy": 50.0, "task_accuracy": 87.5}
    assert evaluated([TASKS[0], part([[0, 0, 9, 1]], [2], (2, 3))]).metrics["accuracy"] == 75.0


@pytest.mark.parametrize("classes", [(), (0, 1, 2, 3)])
def test_a_task_of_all_classes_has_one_read_out(classes: tuple[int, ...]) -> None:
    assert evaluated([part([[9, 8, 0, 0]], [0], classes)]).metrics == {"accuracy": 100.0}


def test_images_go_in_by_batches() -> None:
    oracle = Oracle()
    evaluate_engine(oracle, TASKS, options(images_at_once=3))
    assert oracle.sizes == [3, 3, 1, 2], "the first batch is run once more, before time is taken"


def test_the_summary() -> None:
    lines = evaluated(TASKS).summary().splitlines()
    assert lines[:-1] == [
        "6 images, 2 tasks",
        "     accuracy  50.00 %",
        "task accuracy  87.50 %",
        "  a-b  accuracy  50.00 %  task accuracy  75.00 %",
        "  c-d  accuracy  50.00 %  task accuracy 100.00 %",
    ]
    assert lines[-1].endswith("µs per image")
    assert evaluated(TASKS[1:]).summary().splitlines()[0] == "2 images"


def test_predictions_are_a_row_for_each_image(tmp_path: Path) -> None:
    path = tmp_path / "found.csv"
    found = evaluated(TASKS)
    found.write(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[2] == {"task": "a-b", "image": "2", "label": "b", "predicted": "c", "probability": "0.035294"}
    assert (rows[4]["task"], rows[4]["image"], rows[4]["label"]) == ("c-d", "0", "c")
    with pytest.raises(OverwriteError):
        found.write(path)
    found.write(path, overwrite=True)


def test_labels_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected labels below 4, the number of classes .* found 4"):
        evaluated([part([[0, 0, 0, 0]], [4])])


def test_images_that_are_brighter_than_any_in_training_are_refused() -> None:
    facts = ClassifierFacts((1, 1, 4), ("a", "b", "c", "d"), Preprocessing(16))
    with pytest.raises(DataError, match=r"expected images with values up to 16, .*, found 17"):
        evaluate_engine(Oracle(facts), [part([[17, 0, 0, 0]], [0])], options())
    assert evaluate_engine(Oracle(facts), [part([[16, 0, 0, 0]], [0])], options()).metrics == {"accuracy": 100.0}


def read(tmp_path: Path, text: str) -> EvaluationOptions:
    path = tmp_path / "eval.yaml"
    path.write_text(text, encoding="utf-8")
    return load_options(path, EvaluationOptions)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("benchmark: seq-digits\nimages: a\n", "expected a benchmark or files, found both: benchmark and images"),
        ("images: a\n", "expected benchmark, or images and labels, found images"),
        ("images: a\nlabels: b\ndata_dir: c\n", "data_dir is where a benchmark's files are"),
        ("seed: 1\n", "expected benchmark, or images and labels, found neither"),
    ],
)
def test_one_source_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OptionsError, match=complaint):
        read(tmp_path, text)


def test_a_benchmark_is_read_task_by_task(tmp_path: Path) -> None:
    parts = read_parts(read(tmp_path, "benchmark: seq-digits\n"), tmp_path)
    assert [part.name for part in parts] == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert [part.classes for part in parts] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    for each in parts:
        assert each.images.dtype == np.uint8
        assert each.images.shape == (len(each.labels), 1, 8, 8)
        assert set(each.labels.tolist()) == set(each.classes)


def test_the_seed_permutes_the_tasks_of_a_benchmark(tmp_path: Path) -> None:
    text = "benchmark: {benchmark: perm-digits, count: 2}\nseed: "
    first, again, other = (read_parts(read(tmp_path, f"{text}{seed}\n"), tmp_path) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[1].images, again[1].images)
    assert (first[1].images != other[1].images).any()
    np.testing.assert_array_equal(np.sort(first[1].images.reshape(-1, 64)), np.sort(other[1].images.reshape(-1, 64)))


def learned(**tasks: Any) -> ClassifierFacts:
    """Have learned five permuted tasks with the seed 3, unless said otherwise."""
    given = {"benchmark": "perm-digits", "seed": 3, "class_order": None, "classes_per_task": None, "count": None}
    return ClassifierFacts((1, 8, 8), tuple("0123456789"), Preprocessing(16), {**given, **tasks})


def test_tasks_are_those_that_the_model_learned(tmp_path: Path) -> None:
    given, notes = as_learned(read(tmp_path, "benchmark: perm-digits\n"), learned(count=2))
    assert notes == ()
    found = read_parts(given, tmp_path)
    expected = read_parts(read(tmp_path, "benchmark: {benchmark: perm-digits, count: 2}\nseed: 3\n"), tmp_path)
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.images, other.images)


def test_classes_come_in_the_order_in_which_they_were_learned(tmp_path: Path) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    facts = learned(benchmark="seq-digits", class_order=order, classes_per_task=5)
    given, notes = as_learned(read(tmp_path, "benchmark: seq-digits\n"), facts)
    assert [part.classes for part in read_parts(given, tmp_path)] == [tuple(order[:5]), tuple(order[5:])]
    assert notes == ()


@pytest.mark.parametrize(
    ("text", "learned_by", "note"),
    [
        ("benchmark: perm-digits\nseed: 0\n", {}, "expected seed 3, found 0"),
        ("benchmark: {benchmark: perm-digits, count: 2}\n", {}, "expected count 5, found 2"),
        ("benchmark: {benchmark: perm-digits, count: 5}\nseed: 3\n", {}, None),
        (
            "benchmark: {benchmark: seq-digits, classes_per_task: 5}\n",
            {"benchmark": "seq-digits"},
            "expected classes_per_task 2, found 5",
        ),
        (
            "benchmark: {benchmark: seq-digits, class_order: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]}\n",
            {"benchmark": "seq-digits"},
            "expected class_order [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], found [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]",
        ),
        ("benchmark: seq-digits\nseed: 1\n", {"benchmark": "seq-digits"}, None),  # no task depends on it
    ],
)
def test_other_tasks_than_the_model_learned_are_said(
    tmp_path: Path, text: str, learned_by: dict[str, Any], note: str | None
) -> None:
    _, notes = as_learned(read(tmp_path, text), learned(**learned_by))
    assert notes == (() if note is None else (f"not the tasks that the model learned: {note}",))
    assert evaluate_engine(Oracle(), TASKS, options(), notes).summary().splitlines()[1 : 1 + len(notes)] == list(notes)


@pytest.mark.parametrize("facts", [FACTS, learned(benchmark="seq-digits")])
def test_a_model_of_other_tasks_decides_nothing(tmp_path: Path, facts: ClassifierFacts) -> None:
    asked = read(tmp_path, "benchmark: perm-digits\n")
    assert as_learned(asked, facts) == (asked, ())


def write_idx(path: Path, values: NDArray[np.uint8]) -> Path:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())
    return path


def test_files_of_ones_own_are_one_task(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 5), dtype=np.uint8)
    write_idx(tmp_path / "images.idx", images)
    write_idx(tmp_path / "labels.idx", np.array([2, 0, 1], np.uint8))
    (found,) = read_parts(read(tmp_path, "images: images.idx\nlabels: labels.idx\n"), tmp_path)
    np.testing.assert_array_equal(found.images, images[:, None])
    assert (found.labels.tolist(), found.classes) == ([2, 0, 1], ())


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not read 'options\.images': expected a file, found none"):
        read_parts(read(tmp_path, "images: images.idx\nlabels: labels.idx\n"), tmp_path)
