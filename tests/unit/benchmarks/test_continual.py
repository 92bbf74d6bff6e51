"""What the benchmark of continual learning asks the program for, what it keeps, and what it says of it."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from milepost.cli.validation import read_options

FOLDER = Path(__file__).parents[3] / "benchmarks"
MODULES = ("continual_protocol", "protocol", "processes", "continual_results", "continual")


@pytest.fixture(scope="module")
def made() -> Iterator[SimpleNamespace]:
    """Import the scripts as they import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        before = set(sys.modules)
        found = {name: importlib.import_module(name) for name in MODULES}
        yield SimpleNamespace(**found)
        for name in set(sys.modules) & set(MODULES) - before:
            del sys.modules[name]


def cell(made: SimpleNamespace, stream: str, learner: str, buffer: int | None = None) -> Any:
    wanted = (stream, learner, buffer, "")
    [found] = [c for c in made.continual_protocol.CELLS if (c.stream, c.learner, c.buffer, c.note) == wanted]
    return found


def ended(average: float, forgetting: float | None = 5.0, task: float | None = None) -> dict[str, Any]:
    """Return what a run might have left."""
    scores = {"accuracy": {"average": average, "forgetting": forgetting}}
    if task is not None:
        scores["task_accuracy"] = {"average": task, "forgetting": forgetting}
    return {"scores": scores, "seconds": {"training": 12.0, "process": 15.0}, "steps": 6002}


def test_every_learner_of_the_tables_has_settings_wherever_a_figure_was_published(made):
    protocol = made.continual_protocol
    cells = [(c.stream, c.learner, c.buffer) for c in protocol.CELLS if not c.note]
    asked = {key[:3] for key in protocol.FIGURES if key[1] in protocol.ASKED}
    assert asked <= set(cells)
    assert len(set(cells)) == len(cells)
    assert len([key for key in protocol.FIGURES if key[1] in protocol.ASKED]) == 9 * 4


def test_every_setting_is_one_that_the_program_takes(made, tmp_path):
    file = tmp_path / "options.yaml"
    for one in made.continual_protocol.CELLS:
        file.write_text(json.dumps(one.options(3, "data")), encoding="utf-8")
        options, architecture = read_options(file)
        assert architecture.name == "mlp"
        assert (options.seed, options.learner.name) == (3, one.learner)
        assert options.architecture.training.optimizer.learning_rate == one.rate


def test_settings_are_read_off_the_table_of_the_paper(made):
    options = cell(made, "seq-mnist", "derpp", 500).options(0, "data")
    assert options["learner"] == {
        "name": "derpp", "buffer_size": 500, "minibatch_size": 10, "alpha": 1.0, "beta": 0.5,
    }  # fmt: skip
    training = options["architecture"]["training"]
    assert (training["batch_size"], training["epochs"]) == (10, 1)
    assert training["optimizer"] == {"name": "SGD", "learning_rate": 0.03}
    published = made.continual_protocol.published
    assert published(cell(made, "rot-mnist", "oewc"), "domain-IL").deviation == 5.77
    assert published(cell(made, "seq-mnist", "gdumb", 200), "class-IL") is None


def test_a_penalty_on_the_weights_is_the_decay_with_its_gradient(made):
    """5e-4 Σ w² has the gradient 2 · 5e-4 w."""
    lwf = cell(made, "seq-mnist", "lwf").options(0, "data")
    assert lwf["architecture"]["training"]["optimizer"]["weight_decay"] == 2 * 5e-4
    assert lwf["learner"] == {"name": "lwf", "alpha": 1.0, "softmax_temp": 2.0}


def test_a_run_is_made_once(made, tmp_path):
    results, file = made.continual_results, tmp_path / "results.jsonl"
    cells = [cell(made, "seq-mnist", "er", 200), cell(made, "seq-mnist", "finetune")]
    assert results.read(file) == []
    assert made.continual.missing(cells, 2, []) == [(cells[0], 0), (cells[1], 0), (cells[0], 1), (cells[1], 1)]
    results.append(file, results.described(cells[0], 0, ended(80.0)))
    results.append(file, results.described(cells[1], 1, ended(19.0)))
    assert made.continual.missing(cells, 2, results.read(file)) == [(cells[1], 0), (cells[0], 1)]


def test_a_run_of_other_settings_does_not_count(made):
    results, one = made.continual_results, cell(made, "seq-mnist", "er", 200)
    line = results.described(one, 0, ended(80.0))
    assert set(results.of(one, [line])) == {0}
    other = json.loads(json.dumps(line))
    other["settings"]["architecture"]["training"]["optimizer"]["learning_rate"] = 0.5
    assert results.of(one, [other]) == {}
    assert results.of(cell(made, "seq-mnist", "er", 500), [line]) == {}
    assert results.of(cell(made, "rot-mnist", "er", 200), [line]) == {}


def test_a_line_that_is_no_result_is_named(made, tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text('{"seed": 0}\n{"seed": 1', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"results\.jsonl:2: expected the JSON of a run"):
        made.continual_results.read(file)


def test_means_and_deviations_are_over_seeds(made):
    measured = made.continual_results.measured
    found = measured({0: ended(80.0, None), 1: ended(84.0), 2: ended(82.0)}, "accuracy")
    assert (found.mean, found.deviation, found.seeds) == (82.0, 2.0, 3)
    assert str(found) == "82.00 ± 2.00 (3)"
    assert str(measured({0: ended(80.0)}, "accuracy")) == "80.00 (1)"
    assert measured({0: ended(80.0)}, "task_accuracy") is None
    assert measured({0: ended(80.0, None)}, "accuracy", "forgetting") is None


@pytest.mark.parametrize(
    ("mean", "own", "expected", "deviation", "said"),
    [
        (81.5, 0.1, 80.0, None, "within 1.5"),
        (78.4, 0.1, 80.0, None, "no"),
        (78.4, 0.8, 80.0, None, "within 2 of our σ"),
        (78.4, None, 80.0, None, "no"),
        (60.0, 0.1, 67.66, 8.53, "within 2 σ"),
        (85.0, 9.0, 67.66, 8.53, "no"),
    ],
)
def test_a_mean_is_near_enough_or_not(made, mean, own, expected, deviation, said):
    found = made.continual_results.Measured(mean, own, 10)
    assert made.continual_results.verdict(found, made.continual_protocol.Published(expected, deviation)) == said


def test_tables_show_what_was_measured_and_what_is_missing(made):
    results = made.continual_results
    one = cell(made, "seq-mnist", "derpp", 500)
    lines = [results.described(one, seed, ended(90.0 + seed, 9.0, 98.8)) for seed in (0, 1)]
    text = results.tables(lines)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### S-MNIST, class-IL",
        "### S-MNIST, task-IL (from the same runs)",
        "### P-MNIST, domain-IL",
        "### R-MNIST, domain-IL",
    ]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| DER++ 500")]
    assert rows[0] == ["DER++ 500", "90.50 ± 0.71 (2)", "91.00", "-0.50", "within 1.5", "9.0", "12"]
    assert rows[1][1:4] == ["98.80 ± 0.00 (2)", "98.94", "-0.14"]
    assert rows[2][1:4] == ["–", "88.21 ± 0.39", "–"]
    assert "GDumb" not in text


def test_a_run_leaves_scores_times_and_versions(made, tmp_path):
    digits = made.continual_protocol.Cell("seq-digits", "er", 50, 0.1, 10, {"minibatch_size": 10})
    found = made.continual.run(digits, 0, tmp_path)
    assert set(found["scores"]) == {"accuracy", "task_accuracy"}
    assert found["scores"]["accuracy"]["average"] > 50.0
    assert found["steps"] > 100
    assert 0 < found["seconds"]["training"] < found["seconds"]["process"]
    assert set(found["versions"]) == {"python", "milepost", "torch"}
