"""Options of the learners that come with Milepost; needs no torch.

The section `learner:` names one and holds its keys. Defaults are those of the papers' own experiments where they give
one for all.
"""

from pydantic import ConfigDict, Field

from milepost.options import LearnerSection


class LearnerOptions(LearnerSection):
    """Which learner keeps what was learned before."""

    model_config = ConfigDict(extra="forbid")


class MemoryOptions(LearnerOptions):
    """A learner that keeps examples."""

    buffer_size: int = Field(default=200, ge=1, description="Examples that are kept.")


class BufferOptions(MemoryOptions):
    """A learner that replays some of the examples that it keeps."""

    minibatch_size: int | None = Field(
        default=None, ge=1, description="Examples replayed in a step; null for as many as in a batch."
    )


class OnlineEWCOptions(LearnerOptions):
    """Online elastic weight consolidation."""

    e_lambda: float = Field(default=90.0, ge=0, description="Weight of the penalty.")
    gamma: float = Field(default=1.0, ge=0, le=1, description="What remains of the older tasks' importances.")


class SIOptions(LearnerOptions):
    """Synaptic intelligence."""

    c: float = Field(default=1.0, ge=0, description="Weight of the penalty.")
    xi: float = Field(default=0.9, gt=0, description="Damping of the importances.")


class LwFOptions(LearnerOptions):
    """Learning without forgetting."""

    alpha: float = Field(default=1.0, ge=0, description="Weight of the distillation.")
    softmax_temp: float = Field(default=2.0, gt=0, description="Temperature of the distillation.")


class GEMOptions(MemoryOptions):
    """Gradient episodic memory."""

    gamma: float = Field(
        default=0.5, ge=0, description="Least weight of every older task's gradient, where one is in conflict."
    )


class ICaRLOptions(BufferOptions):
    """Incremental classifier and representation learning."""

    wd_reg: float = Field(default=0.0, ge=0, description="Weight of the squared weights in the loss.")


class GDumbOptions(MemoryOptions):
    """Greedy sampler and dumb learner."""

    fitting_epochs: int = Field(default=256, ge=1, description="Passes over the buffer after each task.")


class DEROptions(BufferOptions):
    """Dark experience replay."""

    alpha: float = Field(default=0.5, ge=0, description="Weight of the distance to kept outputs.")


class DERPPOptions(DEROptions):
    """Dark experience replay with targets."""

    beta: float = Field(default=0.5, ge=0, description="Weight of the loss on kept targets.")
