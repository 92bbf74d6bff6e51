"""The learners that come with Milepost, by name; importing this imports no torch."""

from collections.abc import Mapping
from types import MappingProxyType

from milepost.learning.learners import options
from milepost.learning.learners.options import LearnerOptions
from milepost.learning.registry import LearnerSpec
from milepost.model import Component, Upgrade

__all__ = [
    "AGEM",
    "DER",
    "DERPP",
    "ER",
    "ER_ACE",
    "FINETUNE",
    "GDUMB",
    "GEM",
    "ICARL",
    "JOINT",
    "LWF",
    "OEWC",
    "SI",
]


def _spec(
    name: str,
    summary: str,
    chosen: type[LearnerOptions],
    attribute: str,
    *,
    predictor: str | None = None,
    upgrades: Mapping[int, Upgrade] = MappingProxyType({}),
) -> LearnerSpec:
    """Describe a learner, whose version is that to which its last upgrade step leads."""
    module = f"milepost.learning.learners.{name.replace('-', '_')}"
    return LearnerSpec(
        name=name,
        version=1 + len(upgrades),
        summary=summary,
        options=chosen,
        build=Component(module, attribute),
        predictor=None if predictor is None else Component(module, predictor),
        upgrades=upgrades,
    )


FINETUNE = _spec("finetune", "each task as it comes, nothing is kept", LearnerOptions, "Finetune")
JOINT = _spec("joint", "all tasks at once", LearnerOptions, "Joint")
OEWC = _spec("oewc", "holds weights that mattered: online EWC", options.OnlineEWCOptions, "OnlineEWC")
SI = _spec("si", "holds weights that mattered: synaptic intelligence", options.SIOptions, "SynapticIntelligence")
LWF = _spec("lwf", "keeps the outputs of the model before: learning without forgetting", options.LwFOptions, "LwF")
ER = _spec("er", "replays examples", options.BufferOptions, "ExperienceReplay")
ER_ACE = _spec("er-ace", "replays examples; new classes don't push old ones away", options.BufferOptions, "ERACE")
AGEM = _spec("agem", "keeps the loss on kept examples from rising, on average", options.BufferOptions, "AGEM")
GEM = _spec("gem", "keeps the loss on kept examples from rising, task by task", options.GEMOptions, "GEM")
ICARL = _spec("icarl", "nearest mean of kept exemplars", options.ICaRLOptions, "ICaRL", predictor="classifier")
GDUMB = _spec("gdumb", "trains anew on a balanced buffer alone", options.GDumbOptions, "GDumb")
DER = _spec("der", "replays outputs: dark experience replay", options.DEROptions, "DER")
DERPP = _spec("derpp", "replays outputs and targets: DER++", options.DERPPOptions, "DERPP")
