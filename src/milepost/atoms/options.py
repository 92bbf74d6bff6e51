"""Options of the atomistic domain: data sets and targets, in the shape that metatrain's users know.

Needs no torch. Units are converted once, on reading; inside, everything is eV and Å.
"""

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

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


HeldOut = float | str | HeldOutOptions


class AtomsOptions(RootOptions):
    """Describe a training run on atomistic structures."""

    base_precision: Literal[32, 64] = Field(  # type: ignore[assignment]
        32,
        description="precision of floating-point numbers; forces need at least 32",
        json_schema_extra={"unit": "bit"},
    )
    training_set: TrainingSetOptions = Field(description="the set that weights are fitted to")
    validation_set: HeldOut = Field(
        0.1, description="set that guides the run: a fraction of the frames, a file, or {systems, indices}"
    )
    test_set: HeldOut = Field(
        0.0,
        description="set that nothing is decided by: a fraction of the frames, a file, or {systems, indices}",
    )

    @field_validator("training_set", mode="before")
    @classmethod
    def _file_name(cls, value: object) -> object:
        return {"systems": {"read_from": value}} if isinstance(value, str) else value

    @field_validator("validation_set", "test_set")
    @classmethod
    def _fraction(cls, value: HeldOut) -> HeldOut:
        if isinstance(value, float | int) and not 0 <= value < 1:
            raise ValueError(f"expected a fraction from 0 to below 1, found {value}")
        return value

    @model_validator(mode="after")
    def _something_left(self) -> "AtomsOptions":
        held_out = [x for x in (self.validation_set, self.test_set) if isinstance(x, float | int)]
        if sum(held_out) >= 1:
            raise ValueError(f"expected frames left to train on, found {sum(held_out):g} of them held out")
        return self
