"""Options of the architecture `cairn`: what can be set, in which unit, and what happens when it is not.

Needs no torch, so that options are validated before anything heavy is imported.
"""

from pydantic import Field

from milepost.atoms.options import LossOptions, SpeciesFinetuneOptions
from milepost.options import OptimizerOptions, OptionsModel, ScheduleOptions, TrainingOptions


class CairnModelOptions(OptionsModel):
    """Describe the network."""

    cutoff: float = Field(default=5.0, gt=0, description="reach of one layer", json_schema_extra={"unit": "Å"})
    features: int = Field(default=64, ge=1, description="channels of every tensor rank")
    layers: int = Field(default=2, ge=1, le=8, description="rounds of messages; the reach grows with each")
    radial_functions: int = Field(default=11, ge=2, description="functions that resolve the distance")


class CairnTrainingOptions(TrainingOptions):
    """Describe how the network is trained."""

    optimizer: OptimizerOptions = Field(
        default=OptimizerOptions(name="AdamW", learning_rate=0.01, weight_decay=0.0, arguments={"betas": [0.9, 0.99]}),
        description="how weights follow gradients",
    )
    schedule: ScheduleOptions = Field(
        default=ScheduleOptions(name="cosine", warmup_fraction=0.03), description="learning rate over the run"
    )
    ema_decay: float | None = Field(
        default=0.995, gt=0, lt=1, description="decay of the averaged weights; null for none"
    )
    finetune: SpeciesFinetuneOptions = Field(
        default_factory=SpeciesFinetuneOptions,
        description="where training starts from, if not from random weights",
    )
    loss: LossOptions = Field(default_factory=LossOptions, description="what is minimised")
