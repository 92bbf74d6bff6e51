"""The generic sections: their shape, their rules, and what they say of themselves."""

import pytest

from milepost.options import (
    CheckpointsOptions,
    CourseOptions,
    OptimizerOptions,
    OptionsModel,
    RootOptions,
    ScheduleOptions,
    TrainingOptions,
    json_schema,
)

METATRAIN_SHAPE = """
seed: 42
device: cuda
base_precision: 64
architecture:
  name: cairn
  model: {cutoff: 5.0}
  training: {batch_size: 8}
"""


def test_the_root_has_the_shape_that_users_of_metatrain_know(read) -> None:
    options = read(METATRAIN_SHAPE, model=RootOptions)
    assert (options.seed, options.device, options.base_precision) == (42, "cuda", 64)
    assert options.architecture.training == {"batch_size": 8}
    assert options.checkpoints == CheckpointsOptions()


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps", "xpu"])
def test_devices(read, device) -> None:
    assert read(f"architecture: {{name: a}}\ndevice: {device}", model=RootOptions).device == device


@pytest.mark.parametrize(
    ("model", "text", "line"),
    [
        (
            RootOptions,
            "architecture: {name: a}\ndevice: cud",
            "o.yaml:2 device: expected 'auto', 'cpu', 'cuda', "
            "'cuda:N', 'xpu', 'xpu:N' or 'mps', found 'cud'; did you mean 'cuda'?",
        ),
        (
            RootOptions,
            "architecture: {name: a}\nseed: -1",
            "o.yaml:2 seed: expected an integer ≥ 0 and ≤ 4294967295, found -1",
        ),
        (
            RootOptions,
            "architecture: {name: a}\nbase_precision: 23",
            "o.yaml:2 base_precision: expected 16, 32 or 64, found 23",
        ),
        (
            RootOptions,
            "architecture: {name: ''}",
            "o.yaml:1 architecture.name: expected a text that is not empty, found ''",
        ),
        (
            CheckpointsOptions,
            "every_minutes: 0",
            "o.yaml:1 every_minutes: expected a number > 0 [minutes] or null, found 0",
        ),
        (CheckpointsOptions, "keep_last: 0", "o.yaml:1 keep_last: expected an integer ≥ 1, found 0"),
        (
            CheckpointsOptions,
            "every_steps: null\nevery_epochs: 0",
            "o.yaml:2 every_epochs: expected an integer ≥ 1 or null, found 0",
        ),
        (CourseOptions, "start_from: -1", "o.yaml:1 start_from: expected an integer ≥ 0 or null, found -1"),
        (
            CourseOptions,
            "start_from: 2\nstop_after: 2",
            "o.yaml expected stop_after above start_from, which counts from 0, found 2 and 2",
        ),
        (
            CourseOptions,
            "ckpt_name: ../x",
            "o.yaml:1 ckpt_name: expected a name without slashes that begins with neither a dot nor a space, "
            "found '../x'",
        ),
        (
            CourseOptions,
            "loadcheck: https://me:pw@h/a.pt",
            "o.yaml:1 loadcheck: an address with a user, a password or a query may hold a secret, and options are "
            "kept; fetch the file yourself, and name the file",
        ),
        (TrainingOptions, "num_epochs: 3", "o.yaml:1 num_epochs: unknown key; did you mean 'epochs'?"),
        (
            TrainingOptions,
            "learning_rate: 3",
            "o.yaml:1 learning_rate: unknown key; did you mean 'optimizer.learning_rate'?",
        ),
        (
            TrainingOptions,
            "compile: sometimes",
            "o.yaml:1 compile: expected 'auto', true or false, found 'sometimes'",
        ),
        (
            OptimizerOptions,
            "name: torch.optim.Adam",
            "o.yaml:1 name: expected the name of a class of torch.optim, found 'torch.optim.Adam'",
        ),
        (
            OptimizerOptions,
            "arguments: {lr: 1}",
            "o.yaml arguments must not contain 'lr'; give learning_rate beside it instead",
        ),
        (
            OptimizerOptions,
            "arguments: {params: 1}",
            "o.yaml arguments must not contain 'params'; the model gives them",
        ),
        (
            ScheduleOptions,
            "name: cosine\nfactor: 0.1",
            "o.yaml the schedule 'cosine' has no use for factor; remove the key",
        ),
        (
            ScheduleOptions,
            "name: exponential\nfinal_fraction: 0",
            "o.yaml expected final_fraction > 0 for the schedule 'exponential', found 0.0",
        ),
    ],
)
def test_mistakes(mistakes, model, text, line) -> None:
    assert mistakes(text, model=model) == [line]


def test_rules_of_a_section_are_shown_at_its_line(mistakes) -> None:
    text = "epochs: 3\n\nschedule:\n  name: constant\n  patience: 3\n"
    assert mistakes(text, model=TrainingOptions) == [
        "o.yaml:3 schedule: the schedule 'constant' has no use for patience; remove the key"
    ]


@pytest.mark.parametrize("name", ["cosine", "constant", "linear", "exponential", "step", "one_cycle", "plateau"])
def test_every_schedule_needs_no_more_than_its_name(read, name) -> None:
    assert read(f"name: {name}", model=ScheduleOptions).name == name


def test_compile_may_be_switched_by_word(read) -> None:
    assert read("compile: off", model=TrainingOptions).compile is False
    assert read("compile: auto", model=TrainingOptions).compile == "auto"


def sections() -> list[type[OptionsModel]]:
    import milepost.options

    named = (getattr(milepost.options, name) for name in milepost.options.__all__)
    return [item for item in named if isinstance(item, type) and issubclass(item, OptionsModel)]


def test_every_key_is_described_in_the_schema() -> None:
    assert len(sections()) >= 9
    for section in sections():
        schema = json_schema(section)
        for key, node in schema.get("properties", {}).items():
            reference = node.get("$ref", "").rpartition("/")[2]
            described = node.get("description") or schema["$defs"].get(reference, {}).get("description")
            assert described, f"{section.__name__}.{key} has no description"
