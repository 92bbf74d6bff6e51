"""Options of the atomistic domain: data sets and targets, in the shape that metatrain's users know.

Needs no torch. Units are converted once, on reading; inside, everything is eV and Å.
"""

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from milepost.options import FinetuneOptions, OptionsModel, RootOptions

ENERGY_UNITS = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": 27.211386245988,
    "kcal/mol": 0.0433641042418009,
    "kJ/mol": 0.0103642696565622,
}
"""Electronvolts in a unit of energy: CODATA 2018 (E. Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021))."""

LENGTH_UNITS = {"angstrom": 1.0, "bohr": 0.529177210903, "nm": 10.0}
"""Ångströms in one unit of length: CODATA 2018."""


LengthUnit = Literal["angstrom", "bohr", "nm"]


class LossOptions(OptionsModel):
    """Weigh the parts of the loss; errors are measured in units of the training set's force RMS."""

    type: Literal["huber", "mse"] = Field(default="huber", description="penalty of an error")
    delta: float = Field(default=0.03, gt=0, description="error where huber turns from quadratic to linear")
    energy: float = Field(default=1.0, ge=0, description="weight of the energy per atom")
    forces: float = Field(default=1.0, ge=0, description="weight of the forces")
    stress: float = Field(default=0.1, ge=0, description="weight of the stress, where there is one")


class SpeciesFinetuneOptions(FinetuneOptions):
    """Describe where fine-tuning starts."""

    new_species: bool = Field(default=False, description="add elements that the ancestor does not know")


class SystemsOptions(OptionsModel):
    """Say where structures are read from."""

    read_from: str | list[str] = Field(description="file or glob, or a list of them; anything that ASE reads")
    length_unit: LengthUnit = Field(default="angstrom", description="unit of positions and cells")


class HeldOutSystemsOptions(OptionsModel):
    """Say where the structures of a held-out set are read from; null is as in the training set."""

    read_from: str | list[str] = Field(description="file or glob, or a list of them; anything that ASE reads")
    length_unit: LengthUnit | None = Field(
        default=None, description="unit of positions and cells; as in the training set where null"
    )

    def completed(self, training: SystemsOptions) -> SystemsOptions:
        """Return how these files are read: what is not set here is as in the training set."""
        own = {name: value for name, value in self if value is not None}
        return training.model_copy(update=own)


class DerivativeOptions(OptionsModel):
    """Say where a derivative of the energy is stored."""

    key: str = Field(description="name of the array or entry in the file")


class EnergyOptions(OptionsModel):
    """Say how the energy and its derivatives are stored."""

    key: str = Field(default="energy", description="name of the energy in the file")
    unit: Literal["eV", "meV", "Hartree", "kcal/mol", "kJ/mol"] = Field(default="eV", description="unit of the energy")
    forces: bool | DerivativeOptions = Field(default=True, description="train on forces; true reads the key 'forces'")
    stress: bool | DerivativeOptions = Field(default=False, description="train on stress; true reads the key 'stress'")

    def forces_key(self) -> str | None:
        """Name the forces in the file, or None when they are not used."""
        return _key(self.forces, "forces")

    def stress_key(self) -> str | None:
        """Name the stress in the file, or None when it is not used."""
        return _key(self.stress, "stress")


def _key(setting: bool | DerivativeOptions, default: str) -> str | None:
    if isinstance(setting, DerivativeOptions):
        return setting.key
    return default if setting else None


class TargetsOptions(OptionsModel):
    """List what is learned."""

    energy: EnergyOptions = Field(default_factory=EnergyOptions, description="the potential energy")


def check_frame_numbers(setting: list[int] | str | None) -> list[int] | str | None:
    """Refuse frame numbers that are wrong whatever the files hold: raises ValueError saying what is expected."""
    if isinstance(setting, str):
        parts = [part.strip() for part in setting.split(":")]
        if not 2 <= len(parts) <= 3 or any(part and not _INTEGER.fullmatch(part) for part in parts):
            raise ValueError(f"expected a list of numbers or 'start:stop:step', found {setting!r}")
        if len(parts) == 3 and parts[2] and int(parts[2]) == 0:
            raise ValueError(f"expected a step other than 0, found {setting!r}")
    elif setting is not None:
        if not setting:
            raise ValueError("expected at least 1 number, found []; leave the key out for all frames")
        wrong = [number for number in setting if number < 0]
        if wrong:
            raise ValueError(f"expected numbers from 0, found {wrong[:5]}; the slice '-5:' counts from the end")
        twice = sorted(number for number, times in Counter(setting).items() if times > 1)
        if twice:
            raise ValueError(f"expected every number once, found {twice[:5]} more often")
    return setting


_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)

FrameNumbers = Annotated[list[int] | str | None, AfterValidator(check_frame_numbers)]
"""Frames of the files: a list of their numbers, a slice as Python writes it, or null."""


class TrainingSetOptions(OptionsModel):
    """Describe the set that weights are fitted to."""

    systems: SystemsOptions = Field(description="where structures are read from; a file name will do")
    targets: TargetsOptions = Field(default_factory=TargetsOptions, description="what is learned")
    indices: FrameNumbers = Field(
        None,
        description="frames to use, as a list or 'start:stop:step'; null for all that no other set takes",
    )

    @field_validator("systems", mode="before")
    @classmethod
    def _file_name(cls, value: object) -> object:
        return {"read_from": value} if isinstance(value, str | list) else value


class HeldOutOptions(OptionsModel):
    """Describe a set that is kept out of training: frames of the training files, or files of its own."""

    systems: HeldOutSystemsOptions | None = Field(
        default=None, description="files of its own; null takes the training files"
    )
    targets: TargetsOptions | None = Field(default=None, description="as in the training set where null")
    indices: FrameNumbers = Field(default=None, description="frames to use, as a list or 'start:stop:step'")

    @field_validator("systems", mode="before")
    @classmethod
    def _file_name(cls, value: object) -> object:
        return {"read_from": value} if isinstance(value, str | list) else value

    @model_validator(mode="after")
    def _something(self) -> "HeldOutOptions":
        if self.systems is None and self.indices is None:
            raise ValueError("expected 'systems' or 'indices', found neither; name a file or list the frames")
        return self


def _check_fraction(value: "float | str | HeldOutOptions") -> "float | str | HeldOutOptions":
    if isinstance(value, float | int) and not 0 <= value < 1:
        raise ValueError(f"expected a fraction from 0 to below 1, found {value}")
    return value


def _file_or_section(value: object) -> object:
    return {"systems": {"read_from": value}} if isinstance(value, str) else value


HeldOut = float | str | HeldOutOptions
TrainingSet = Annotated[TrainingSetOptions, BeforeValidator(_file_or_section)]
"""A training set, which the name of its file may stand for."""

TRAINING_SET = "the set that weights are fitted to"
VALIDATION_SET = "set that guides the run: a fraction of the frames, a file, or {systems, indices}"
TEST_SET = "set that nothing is decided by: a fraction of the frames, a file, or {systems, indices}"


class TaskOptions(OptionsModel):
    """Describe one of several data sets that are learned in turn."""

    name: str = Field(min_length=1, description="name of the task, in tables and pictures")
    training_set: TrainingSet = Field(description=TRAINING_SET)
    validation_set: Annotated[HeldOut, AfterValidator(_check_fraction)] = Field(0.1, description=VALIDATION_SET)
    test_set: Annotated[HeldOut, AfterValidator(_check_fraction)] = Field(0.0, description=TEST_SET)

    @model_validator(mode="after")
    def _something_left(self) -> "TaskOptions":
        _check_something_left(self.validation_set, self.test_set)
        return self

    def learned(self) -> str:
        """Say what is learned and in which unit, wherever it is stored."""
        energy = self.training_set.targets.energy
        given = {"forces": energy.forces_key(), "stress": energy.stress_key()}
        return ", ".join([f"energy in {energy.unit}", *(name for name, key in given.items() if key is not None)])


def _check_something_left(*sets: HeldOut) -> None:
    held_out = [value for value in sets if isinstance(value, float | int)]
    if sum(held_out) >= 1:
        raise ValueError(f"expected frames left to train on, found {sum(held_out):g} of them held out")


class AtomsOptions(RootOptions):
    """Describe a training run on atomistic structures: on one data set, or on several in turn."""

    base_precision: Literal[32, 64] = Field(  # type: ignore[assignment]
        32,
        description="precision of floating-point numbers; forces need at least 32",
        json_schema_extra={"unit": "bit"},
    )
    tasks: list[TaskOptions] | None = Field(
        None, description="data sets that are learned in turn, each with a name and sets of its own; null for one"
    )
    training_set: TrainingSet | None = Field(None, validate_default=True, description=TRAINING_SET)
    validation_set: HeldOut = Field(0.1, description=VALIDATION_SET)
    test_set: HeldOut = Field(0.0, description=TEST_SET)

    @field_validator("tasks")
    @classmethod
    def _distinct(cls, tasks: list[TaskOptions] | None) -> list[TaskOptions] | None:
        if tasks is None:
            return None
        if not tasks:
            raise ValueError("expected at least 1 task, found []; leave the key out for a single data set")
        names = [task.name for task in tasks]
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise ValueError(f"expected every name once, found {', '.join(map(repr, twice))} more often")
        first = tasks[0]
        for task in tasks[1:]:
            if task.learned() != first.learned():
                raise ValueError(
                    f"expected every task to learn what '{first.name}' does ({first.learned()}), found '{task.name}' "
                    f"({task.learned()}); give them the same targets"
                )
        return tasks

    @field_validator("training_set")
    @classmethod
    def _one_form(cls, value: TrainingSetOptions | None, info: ValidationInfo) -> TrainingSetOptions | None:
        if "tasks" in info.data and (value is None) == (info.data["tasks"] is None):
            if value is None:
                raise ValueError("missing; expected a section, the name of a file, or 'tasks' instead")
            raise ValueError("expected no such key beside 'tasks', found one; move it into a task")
        return value

    @field_validator("validation_set", "test_set")
    @classmethod
    def _fraction(cls, value: HeldOut, info: ValidationInfo) -> HeldOut:
        default = cls.model_fields[str(info.field_name)].default
        if info.data.get("tasks") is not None and value != default:
            raise ValueError(f"expected no such key beside 'tasks', found {value!r}; move it into each task")
        return _check_fraction(value)

    @model_validator(mode="after")
    def _something_left(self) -> "AtomsOptions":
        _check_something_left(self.validation_set, self.test_set)
        return self

    def sequence(self) -> list[TaskOptions]:
        """Return the tasks; a single data set is one without a name."""
        if self.training_set is None:
            return self.tasks or []
        whole = TaskOptions.model_construct(
            name="", training_set=self.training_set, validation_set=self.validation_set, test_set=self.test_set
        )
        return [whole]
