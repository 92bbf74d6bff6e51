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
from milepost.run.mammoth import (
    NEUTRAL,
    UNKNOWN,
    arguments,
    other_arguments,
    put_found,
    take_buffer,
    take_results,
    unknown_to_mammoth,
)
from unit.run.test_bounds import course

OPTIONS = {
    "architecture": {
        "name": "mlp",
        "training": {
            "batch_size": 32,
            "epochs": 2,
            "optimizer": {"name": "SGD", "learning_rate": 0.1, "weight_decay": 0.0, "arguments": {"momentum": 0.9}},
            "schedule": {"name": "constant"},
        },
    },
    "tasks": {"benchmark": "seq-mnist"},
    "course": {"savecheck": "task"},
}


class Options(RootOptions):
    """Options of a benchmark."""

    tasks: dict[str, Any] | list[dict[str, str]]


def options(tasks: Any = OPTIONS["tasks"], **learner: Any) -> RootOptions:
    return Options.model_validate({**OPTIONS, "tasks": tasks, "learner": learner})


class Examples:
    """Give examples as bytes."""

    largest: int

    def examples(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the examples of these indices."""
        count = len(indices)
        return {
            "images": torch.zeros(count, 1, 2, 2, dtype=torch.uint8),
            "labels": torch.zeros(count, dtype=torch.int64),
        }


class Remembering(SimpleNamespace):
    """Have a state, as learners with a buffer do."""

    def state_dict(self) -> dict[str, Any]:
        """Return the buffer's."""
        return {"buffer": self.buffer.state_dict()}


def state(*, capacity: int = 3, kind: str = "reservoir", tasks: int = 3, largest: int | None = None) -> Any:
    """Stand at the beginning of a run of some tasks; its data say what their largest value is, if one is given."""
    examples = Examples()
    if largest is not None:
        examples.largest = largest
    learner = Remembering(buffer=make_buffer(kind, capacity, 0), setting=SimpleNamespace(examples=examples))
    matrix = TaskMatrix(list("abcdefgh"[:tasks]), {"accuracy": "max", "task_accuracy": "max"})
    position = SimpleNamespace(step=0)
    return SimpleNamespace(learner=learner, course=course(*[4] * tasks), matrix=matrix, position=position)


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


SAME: dict[str, Any] = {
    "dataset": "seq-mnist", "model": "derpp", "joint": 0, "buffer_size": 2, "minibatch_size": 32, "alpha": 0.2,
    "beta": 0.5, "seed": 0, "n_epochs": 2, "batch_size": 32, "lr": 0.1, "optimizer": "sgd", "optim_wd": 0.0,
    "optim_mom": 0.9, "optim_nesterov": 0, "lr_scheduler": None, "validation": None, "validation_mode": "current",
    "noise_type": "symmetric", "ckpt_name": "theirs", "stop_after": 3, **NEUTRAL,
}  # fmt: skip
"""Arguments with which Mammoth does what the options below ask for."""


def listed(**args: Any) -> list[str]:
    chosen = options(name="derpp", buffer_size=2, alpha=0.2, beta=0.5)
    return list(other_arguments(found(args={**SAME, **args}), chosen))


def test_the_same_arguments_are_no_difference() -> None:
    assert listed() == []


@pytest.mark.parametrize(
    ("key", "expected", "other"),
    [
        ("alpha", "0.2", 9.0),
        ("beta", "0.5", 0.1),
        ("minibatch_size", "32", 64),
        ("optim_wd", "0.0", 5e-4),
        ("optim_mom", "0.9", 0.0),
        ("optim_nesterov", "False", True),
        ("seed", "0", None),
        ("lr_scheduler", "None", "multisteplr"),
        ("validation", "None", 10.0),
        ("noise_rate", "0", 0.2),
        ("permute_classes", "False", True),
        ("custom_class_order", "None", "1,0,2,3,4,5,6,7,8,9"),
        ("custom_task_order", "None", "4,3,2,1,0"),
        ("dataset_config", "None", "default"),
        ("fitting_mode", "'epochs'", "iters"),
        ("n_iters", "None", 10),
        ("drop_last", "False", True),
        ("label_perc", "1", 0.5),
        ("label_perc_by_class", "1", 0.5),
        ("code_optimization", "0", 2),
        ("debug_mode", "False", True),
        ("inference_only", "False", True),
    ],
)
def test_every_argument_that_differs_is_listed(key: str, expected: str, other: Any) -> None:
    assert listed(**{key: other})[0] == f"made with another {key}: expected {expected}, found {other!r}"


def test_what_belongs_to_an_argument_is_listed_with_it() -> None:
    assert listed(noise_rate=0.2)[1:] == ["made with another noise_type: expected none, found 'symmetric'"]
    assert listed(validation=10.0)[1:] == ["made with another validation_mode: expected none, found 'current'"]
    assert listed(lr_scheduler="multisteplr", lr_milestones=[3])[1:] == [
        "made with another lr_milestones: expected none, found [3]"
    ]


def test_a_share_for_validation_is_meant_in_percent() -> None:
    chosen = options({"benchmark": "seq-mnist", "validation": 0.07}, name="er")
    assert list(other_arguments(found(args={"validation": 7.0}), chosen)) == []
    (line,) = other_arguments(found(args={"validation": None}), chosen)
    assert line == "made with another validation: expected 7.0, found None"


def test_the_learner_s_own_keys_have_mammoth_s_names() -> None:
    chosen = options(name="icarl", wd_reg=1e-5)
    assert "wd_reg" not in arguments(chosen)
    (line,) = other_arguments(found(args={"opt_wd": 0.0}), chosen)
    assert line == "made with another opt_wd: expected 1e-05, found 0.0"
    (line,) = other_arguments(found(args={"use_custom_classifier": True}), options(name="er-ace"))
    assert line == "made with another use_custom_classifier: expected False, found True"


@pytest.mark.parametrize(
    ("tasks", "args", "reason"),
    [
        (
            {"benchmark": "perm-mnist"},
            {"dataset": "perm-mnist"},
            "permutations and rotations of 'perm-mnist' are drawn",
        ),
        ({"benchmark": "rot-mnist"}, {"dataset": "rot-mnist"}, "permutations and rotations of 'rot-mnist' are drawn"),
        ({"benchmark": "rot-mnist"}, {}, "permutations and rotations of 'rot-mnist' are drawn"),
        ({"benchmark": "seq-mnist"}, {"permute_classes": True}, "permute_classes: classes come in another order"),
        ({"benchmark": "seq-mnist"}, {"custom_class_order": "1,0"}, "custom_class_order: classes come in another"),
        ({"benchmark": "seq-mnist"}, {"custom_task_order": "1,0"}, "custom_task_order: classes come in another order"),
        ({"benchmark": "seq-mnist", "class_order": [1, 0]}, {}, "tasks.class_order: classes come in another order"),
        ({"benchmark": "seq-mnist"}, {"dataset": "seq-cifar10"}, "those of 'seq-cifar10', not of 'seq-mnist'"),
        ({"benchmark": "seq-cifar100"}, {"dataset": "seq-cifar100"}, "expected 10 tasks, as Mammoth has, found 5"),
        ([{"name": "a"}], {"permute_classes": True}, "permute_classes: classes come in another order"),
    ],
)
def test_of_other_tasks_the_weights_are_taken_alone(tasks: Any, args: dict[str, Any], reason: str) -> None:
    standing = state(tasks=5)
    lines = list(put_found(found(args={"model": "derpp", **args}), standing, options(tasks, name="derpp"), "a.pt"))
    (line,) = [line for line in lines if "other tasks" in line]
    assert line.startswith("not loaded, they belong to other tasks: results and buffer (")
    assert reason in line
    assert not any(line.startswith("loaded") for line in lines)
    assert standing.matrix.last is None
    assert (len(standing.learner.buffer), standing.position.step) == (0, 0)


@pytest.mark.parametrize(
    ("tasks", "args"),
    [
        ({"benchmark": "seq-mnist"}, {"dataset": "seq-mnist", "permute_classes": False, "custom_class_order": None}),
        ({"benchmark": "seq-mnist"}, {}),
        ({"benchmark": "seq-cifar100"}, {"dataset": "seq-cifar100", "dataset_config": "5-tasks"}),
        ([{"name": "a"}, {"name": "b"}], {"dataset": "perm-mnist"}),
    ],
)
def test_results_and_buffer_of_the_same_tasks_are_taken(tasks: Any, args: dict[str, Any]) -> None:
    standing = state(tasks=5)
    lines = list(put_found(found(args={"model": "derpp", **args}), standing, options(tasks, name="derpp"), "a.pt"))
    assert "loaded: results of 2 tasks" in lines
    assert (standing.matrix.last, len(standing.learner.buffer), standing.position.step) == (1, 2, 8)


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


def test_images_come_back_in_the_values_of_the_data() -> None:
    """As they were when `convert` divided them by the largest value that the data have."""
    standing = state(largest=16)
    images = torch.tensor([[0, 1, 15, 16], [7, 8, 9, 10]], dtype=torch.uint8)
    buffer = {"examples": (images / 16).view(2, 1, 2, 2), "labels": torch.tensor([3, 1])}
    list(take_buffer(found(buffer=buffer), standing, options(name="derpp", buffer_size=3), "a.pt"))
    assert torch.equal(standing.learner.buffer.everything()["images"].flatten(1), images)


def test_der_s_buffer_has_no_labels_in_mammoth() -> None:
    standing = state()
    file = found(args={"model": "der"})
    buffer = {name: values for name, values in file.buffer.items() if name != "labels"}
    list(take_buffer(found(args={"model": "der"}, buffer=buffer), standing, options(name="der", buffer_size=3), "a.pt"))
    kept = standing.learner.buffer.everything()
    assert kept["labels"].tolist() == [UNKNOWN, UNKNOWN]
    assert torch.equal(kept["recalled.logits"], torch.ones(2, 5))
    with pytest.raises(ResumeError, match="expected a buffer of examples"):
        list(take_buffer(found(buffer=buffer), state(), options(name="derpp", buffer_size=3), "a.pt"))


def test_what_the_file_says_was_seen_counts() -> None:
    standing = state()
    (line,) = take_buffer(found(seen=5), standing, options(name="derpp", buffer_size=3), "a.pt")
    assert line.endswith("which has seen 5 (as the file says)")


def test_empty_places_of_a_buffer_are_not_taken_for_examples() -> None:
    standing = state(capacity=100)
    buffer = {"examples": torch.zeros(100, 1, 2, 2), "labels": torch.zeros(100)}
    list(take_buffer(found(buffer=buffer), standing, options(name="derpp", buffer_size=100), "a.pt"))
    assert (len(standing.learner.buffer), standing.learner.buffer.seen) == (8, 8)


def test_a_buffer_of_another_method_or_form_is_left() -> None:
    for standing, name, why in (
        (state(), "er", "not loaded: the buffer, which 'derpp' filled and 'er' would have filled in another way"),
        (state(kind="ring"), "derpp", "not loaded: the buffer, which 'derpp' keeps in another form here"),
    ):
        assert list(take_buffer(found(), standing, options(name=name, buffer_size=3), "a.pt")) == [why]
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
