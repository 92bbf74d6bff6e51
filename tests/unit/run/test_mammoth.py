"""Options are said in Mammoth's words, and what its files hold is taken up."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from milepost.checkpoint.mammoth import MammothState
from milepost.errors import ResumeError
from milepost.learning import Learner, TaskMatrix
from milepost.learning.buffers import make_buffer
from milepost.learning.learners.finetune import Finetune
from milepost.options import RootOptions
from milepost.run.mammoth import arguments, other_arguments, take_buffer, take_results, unknown_to_mammoth
from unit.run.test_bounds import course

OPTIONS = {
    "architecture": {
        "name": "mlp",
        "training": {
            "batch_size": 32,
            "epochs": 2,
            "optimizer": {"name": "SGD", "learning_rate": 0.1, "weight_decay": 0.0, "arguments": {"momentum": 0.9}},
        },
    },
    "tasks": {"benchmark": "seq-mnist"},
    "course": {"savecheck": "task"},
}


class Options(RootOptions):
    """Options of a benchmark."""

    tasks: dict[str, str]


def options(**learner: Any) -> RootOptions:
    return Options.model_validate({**OPTIONS, "learner": learner})


class Examples:
    """Give examples as bytes."""

    def examples(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the examples of these indices."""
        count = len(indices)
        return {
            "images": torch.zeros(count, 1, 2, 2, dtype=torch.uint8),
            "labels": torch.zeros(count, dtype=torch.int64),
        }


def state(*, capacity: int = 3, kind: str = "reservoir") -> Any:
    """Stand at the beginning of a run of three tasks."""
    learner = SimpleNamespace(buffer=make_buffer(kind, capacity, 0), setting=SimpleNamespace(examples=Examples()))
    matrix = TaskMatrix(["a", "b", "c"], {"accuracy": "max", "task_accuracy": "max"})
    return SimpleNamespace(learner=learner, course=course(4, 4, 4), matrix=matrix)


def found(**changes: Any) -> MammothState:
    """Hold a file of two tasks and two examples."""
    buffer = {
        "examples": torch.tensor([0.0, 1.0, 128 / 255, 0.2, 0.0, 0.0, 0.0, 1.0]).view(2, 1, 2, 2),
        "labels": torch.tensor([3, 1]),
        "logits": torch.ones(2, 5),
    }
    given = {
        "weights": {},
        "args": {"model": "derpp"},
        "accuracy": ((90.0,), (20.0, 80.0)),
        "task_accuracy": ((95.0,), (85.0, 97.0)),
        "buffer": buffer,
    }
    return MammothState(**{**given, **changes})


def test_the_words_of_mammoth() -> None:
    given = arguments(options(name="derpp", buffer_size=200, minibatch_size=None, alpha=0.2, beta=0.5))
    expected = {
        "dataset": "seq-mnist", "model": "derpp", "joint": 0, "buffer_size": 200, "minibatch_size": 32, "alpha": 0.2,
        "beta": 0.5, "seed": 0, "n_epochs": 2, "batch_size": 32, "lr": 0.1, "optimizer": "sgd", "optim_wd": 0.0,
        "optim_mom": 0.9, "optim_nesterov": False, "savecheck": "task", "ckpt_name": None, "start_from": None,
        "stop_after": None,
    }  # fmt: skip
    assert given == expected


@pytest.mark.parametrize(
    ("learner", "model", "joint"),
    [("finetune", "sgd", 0), ("joint", "sgd", 1), ("oewc", "ewc_on", 0), ("er-ace", "er_ace", 0), ("lwf", "lwf", 0)],
)
def test_methods_have_their_names_there(learner: str, model: str, joint: int) -> None:
    given = arguments(options(name=learner))
    assert (given["model"], given["joint"]) == (model, joint)
    assert "minibatch_size" not in given


def test_other_arguments_are_listed() -> None:
    file = found(args={"model": "er", "dataset": "seq-mnist", "lr": 0.03, "notes": "x"})
    assert list(other_arguments(file, options(name="derpp", buffer_size=2))) == [
        "made with another model: expected 'derpp', found 'er'",
        "made with another lr: expected 0.1, found 0.03",
    ]


def test_results_are_taken() -> None:
    standing = state()
    assert list(take_results(found(), standing, "a.pt")) == ["loaded: results of 2 tasks"]
    assert standing.matrix.rows["accuracy"][1][:2] == [20.0, 80.0]
    assert standing.matrix.rows["task_accuracy"][0][0] == 95.0
    assert standing.matrix.last == 1
    assert list(take_results(found(accuracy=()), state(), "a.pt")) == ["not loaded, the file has none: results"]


def test_results_of_more_tasks_than_there_are() -> None:
    with pytest.raises(ResumeError, match="expected results of at most 3 tasks, found those of 4"):
        list(take_results(found(accuracy=((1.0,),) * 4), state(), "a.pt"))


def test_a_buffer_is_taken_in_the_types_of_the_data() -> None:
    standing = state()
    lines = list(take_buffer(found(), standing, options(name="derpp", buffer_size=3), "a.pt"))
    assert lines == [
        "loaded: a buffer of 2 examples, which has seen 8 (as many as its tasks have, since the file does not say)"
    ]
    kept = standing.learner.buffer.everything()
    assert kept["images"].dtype == torch.uint8
    assert kept["images"].flatten(1).tolist() == [[0, 255, 128, 51], [0, 0, 0, 255]]
    assert kept["labels"].tolist() == [3, 1]
    assert torch.equal(kept["recalled.logits"], torch.ones(2, 5))
    assert standing.learner.buffer.seen == 8


def test_what_the_file_says_was_seen_counts() -> None:
    standing = state()
    (line,) = take_buffer(found(seen=5), standing, options(name="derpp", buffer_size=3), "a.pt")
    assert line.endswith("which has seen 5 (as the file says)")


def test_empty_places_of_a_buffer_are_not_taken_for_examples() -> None:
    standing = state(capacity=100)
    buffer = {"examples": torch.zeros(100, 1, 2, 2), "labels": torch.zeros(100)}
    list(take_buffer(found(buffer=buffer), standing, options(name="derpp", buffer_size=100), "a.pt"))
    assert (len(standing.learner.buffer), standing.learner.buffer.seen) == (8, 8)


def test_a_buffer_of_another_method_is_left() -> None:
    for standing, name in ((state(kind="greedy"), "derpp"), (state(), "er")):
        (line,) = take_buffer(found(), standing, options(name=name, buffer_size=3), "a.pt")
        assert line.startswith("not loaded: the buffer, which 'derpp' filled")
        assert len(standing.learner.buffer) == 0
    lines = take_buffer(found(buffer={}), state(), options(name="derpp", buffer_size=3), "a.pt")
    assert list(lines) == ["not loaded, the file has none: a buffer"]


@pytest.mark.parametrize(
    ("capacity", "examples", "problem"),
    [
        (1, torch.zeros(2, 1, 2, 2), "expected a buffer of at most 1 examples, found 2. Give learner.buffer_size=2."),
        (
            3,
            torch.zeros(2, 1, 5, 5),
            r"expected a buffer of examples with .*'images': \(1, 2, 2\).* found .*\(1, 5, 5\)",
        ),
    ],
)
def test_a_buffer_that_has_no_place(capacity: int, examples: Tensor, problem: str) -> None:
    file = found(buffer={"examples": examples, "labels": torch.zeros(2)})
    with pytest.raises(ResumeError, match=problem):
        list(take_buffer(file, state(capacity=capacity), options(name="derpp", buffer_size=capacity), "a.pt"))


def test_what_begins_anew_is_said() -> None:
    class Keeping(Finetune):
        def state_dict(self) -> dict[str, Any]:
            return {"x": 1}

    plain = cast(Learner, Finetune.__new__(Finetune))
    assert not any("learner" in line for line in unknown_to_mammoth(plain))
    keeping = cast(Learner, Keeping.__new__(Keeping))
    assert "not loaded, Mammoth does not save it: what the learner keeps" in list(unknown_to_mammoth(keeping))
