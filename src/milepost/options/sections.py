"""The sections that any training needs; a domain derives its own root and adds its data and targets."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from milepost.options.addresses import SECRET, may_hold_a_secret
from milepost.options.model import OptionsModel

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
MetricName = Annotated[str, Field(min_length=1)]


class OptimizerOptions(OptionsModel):
    """How a gradient changes the weights."""

    name: str = Field(
        default="AdamW",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="Class of torch.optim.",
        json_schema_extra={"expected": "the name of a class of torch.optim"},
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest learning rate; the schedule scales it.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decay of the weights.")
    arguments: dict[str, Any] = Field(default={}, description="Further arguments of the class, passed on as they are.")

    @model_validator(mode="after")
    def _no_second_place(self) -> "OptimizerOptions":
        for argument, option in (("lr", "learning_rate"), ("weight_decay", "weight_decay"), ("params", None)):
            if argument in self.arguments:
                instead = f"give {option} beside it instead" if option else "the model gives them"
                raise ValueError(f"arguments must not contain {argument!r}; {instead}")
        return self


class ScheduleOptions(OptionsModel):
    """How the learning rate changes from step to step.

    Every schedule begins with a linear warm-up, from ``initial_fraction`` to the whole learning rate.
    """

    name: Literal["cosine", "constant", "linear", "exponential", "step", "one_cycle", "plateau"] = Field(
        default="cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_fraction: Fraction = Field(default=0.05, description="Length of the warm-up as a fraction of all steps.")
    warmup_steps: int | None = Field(
        default=None, ge=0, description="Length of the warm-up; goes before warmup_fraction."
    )
    initial_fraction: Fraction = Field(default=0.04, description="Learning rate at the start, relative to the highest.")
    final_fraction: Fraction = Field(
        default=0.01,
        description="Learning rate at the end, relative to the highest; for plateau the least one; unused by "
        "constant and step.",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="Factor of each reduction; for step and plateau."
    )
    every_epochs: Count = Field(default=10, description="Time between reductions; for step.")
    patience: Count = Field(
        default=10,
        description="Evaluations without improvement before a reduction; for plateau.",
        json_schema_extra={"unit": "evaluations"},
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ScheduleOptions":
        uses = {
            "factor": ("step", "plateau"),
            "every_epochs": ("step",),
            "patience": ("plateau",),
            "final_fraction": ("cosine", "linear", "exponential", "one_cycle", "plateau"),
        }
        fields = type(self).model_fields
        unused = [
            key for key, names in uses.items() if self.name not in names and getattr(self, key) != fields[key].default
        ]
        if unused:
            raise ValueError(f"the schedule {self.name!r} has no use for {', '.join(unused)}; remove the key")
        if self.name == "exponential" and self.final_fraction == 0:
            raise ValueError("expected final_fraction > 0 for the schedule 'exponential', found 0.0")
        return self


class EarlyStoppingOptions(OptionsModel):
    """When to stop because nothing improves any more."""

    patience: int | None = Field(
        default=None,
        ge=1,
        description="Evaluations without improvement before training stops; null to train to the end.",
        json_schema_extra={"unit": "evaluations"},
    )
    monitor: MetricName = Field(
        default="validation/loss",
        description="Metric that should improve. Without a validation set, the training loss stands for those of one.",
    )
    mode: Literal["min", "max"] = Field(default="min", description="Whether lower or higher is better.")
    minimum_change: float = Field(default=0.0, ge=0, description="Least change of the metric that is an improvement.")


class FinetuneOptions(OptionsModel):
    """Where training starts from, if not from random weights."""

    read_from: str | None = Field(
        default=None, min_length=1, description="Checkpoint whose weights are taken; null for random weights."
    )


class TrainingOptions(OptionsModel):
    """The training of a model; an architecture may derive from it and add its own keys."""

    epochs: int = Field(
        default=100, ge=0, description="Passes over the training set; 0 to measure and save the model as it begins."
    )
    steps: int | None = Field(default=None, ge=0, description="Length of the training in steps; goes before epochs.")
    batch_size: int = Field(default=10, ge=1, description="Examples in a batch.")
    accumulate_batches: int = Field(
        default=1,
        ge=1,
        description="Batches whose gradients are averaged for one step; for steps of more examples than fit in memory.",
    )
    loader_workers: int = Field(
        default=0,
        ge=0,
        description="Processes that make batches ahead of time; 0 makes them in the process that trains. The result "
        "is the same.",
    )
    optimizer: OptimizerOptions = Field(default_factory=OptimizerOptions)
    schedule: ScheduleOptions = Field(default_factory=ScheduleOptions)
    gradient_clip: float | None = Field(
        default=None,
        gt=0,
        description="Highest norm of the gradient, to which longer ones are scaled; null for any.",
    )
    ema_decay: float | None = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="Decay per step of the averaged weights kept beside the raw ones; null for none.",
    )
    early_stopping: EarlyStoppingOptions = Field(default_factory=EarlyStoppingOptions)
    log_every_steps: int = Field(
        default=100, ge=1, description="Steps between lines of the log, where no bar is shown."
    )
    evaluate_every_epochs: int = Field(default=1, ge=1, description="Time between evaluations.")
    mixed_precision: Literal["bfloat16", "float16"] | None = Field(
        default=None,
        description="16-bit type in which the model is computed where that does little harm; weights stay in 32 bits. "
        "Null for none.",
    )
    compile: Literal["auto", True, False] = Field(
        default="auto",
        description="Whether a step is compiled; auto compiles runs of 5000 steps and more where a compiler is found.",
    )
    on_nan: Literal["stop", "rollback"] = Field(
        default="stop",
        description="What to do when the loss or the gradient is no finite number; rollback goes back to an earlier "
        "checkpoint and leaves the batch out.",
    )
    rollback_checkpoints: Count = Field(
        default=1, description="How many checkpoints a rollback goes back; so many are kept."
    )
    finetune: FinetuneOptions = Field(default_factory=FinetuneOptions)


class CheckpointsOptions(OptionsModel):
    """When checkpoints are saved and which are kept; one is also saved at the end and on a signal."""

    every_steps: int | None = Field(default=None, ge=1, description="Save after so many steps.")
    every_epochs: int | None = Field(default=1, ge=1, description="Save after so many epochs.")
    every_minutes: float | None = Field(
        default=None, gt=0, description="Save after so much time.", json_schema_extra={"unit": "minutes"}
    )
    keep_last: int = Field(default=2, ge=1, description="How many of the newest checkpoints are kept.")
    keep_best: int = Field(default=1, ge=0, description="How many of the best checkpoints are kept besides.")
    monitor: MetricName = Field(
        default="validation/loss",
        description="Metric that tells which checkpoint is best. Without a validation set, the training loss stands "
        "for those of one.",
    )
    mode: Literal["min", "max"] = Field(default="min", description="Whether lower or higher is better.")
    durability: Literal["power", "process"] = Field(
        default="power",
        description="What a finished save survives: a power cut (slower), or the end of the process.",
    )


class ArchitectureOptions(OptionsModel):
    """Which model is trained, and how."""

    name: str = Field(min_length=1, description="Name of the architecture; `milepost architectures` lists them.")
    model: dict[str, Any] = Field(default={}, description="Options of the model; each architecture has its own.")
    training: dict[str, Any] = Field(default={}, description="Options of the training; each architecture has its own.")


class LearnerSection(OptionsModel):
    """How what was learned is kept while something else is learned; each learner has keys of its own."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(default="finetune", min_length=1, description="Learner; `milepost learners` lists them.")


class CourseOptions(OptionsModel):
    """Which of the tasks are learned, beginning with what, and which of them leave a file of their own."""

    loadcheck: str | None = Field(
        default=None,
        min_length=1,
        description="Checkpoint that the run begins with: of Milepost, of Mammoth, or weights by name; a file or an "
        "address. Null for a new model.",
    )
    start_from: int | None = Field(
        default=None, ge=0, description="First task to be learned, counted from 0; null for the first that is not done."
    )
    stop_after: int | None = Field(default=None, ge=1, description="End once so many tasks are done; null for all.")
    savecheck: Literal["task", "last"] | None = Field(
        default=None,
        description="Put a checkpoint into the folder checkpoints when a task ends, each or the last; null for none.",
    )
    ckpt_name: str | None = Field(
        default=None,
        pattern=r"^[^\s/\\.][^/\\]*$",
        description="What the names of these files begin with.",
        json_schema_extra={"expected": "a name without slashes that begins with neither a dot nor a space"},
    )

    @field_validator("loadcheck")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        """Refuse what must not be kept with the run: the address is saved with the options, for others to read."""
        if value is not None and may_hold_a_secret(value):
            raise ValueError(SECRET)
        return value

    @model_validator(mode="after")
    def _in_order(self) -> "CourseOptions":
        if self.start_from is not None and self.stop_after is not None and self.start_from >= self.stop_after:
            raise ValueError(
                f"expected stop_after above start_from, which counts from 0, found {self.stop_after} and "
                f"{self.start_from}"
            )
        return self


class RootOptions(OptionsModel):
    """The whole of an options file, as far as every domain shares it."""

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Source of all randomness.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]+)?)$",
        description="Where to compute; auto takes a GPU if there is one.",
        json_schema_extra={
            "expected": "'auto', 'cpu', 'cuda', 'cuda:N', 'xpu', 'xpu:N' or 'mps'",
            "examples": ["auto", "cpu", "cuda", "cuda:0", "xpu", "mps"],
        },
    )
    base_precision: Literal[16, 32, 64] = Field(
        default=32, description="Precision of floating-point numbers.", json_schema_extra={"unit": "bit"}
    )
    architecture: ArchitectureOptions
    learner: LearnerSection = Field(
        default_factory=LearnerSection,
        description="How tasks are learned in turn without forgetting.",
        json_schema_extra={"short_form": "name"},
    )
    checkpoints: CheckpointsOptions = Field(default_factory=CheckpointsOptions)
    course: CourseOptions = Field(default_factory=CourseOptions)

    @field_validator("learner", mode="before")
    @classmethod
    def _learner_name(cls, value: object) -> object:
        """Take a learner's name for a section with nothing else in it."""
        return {"name": value} if isinstance(value, str) else value
