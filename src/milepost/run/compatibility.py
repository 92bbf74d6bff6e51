"""Tell which options may differ from the saved ones when a run goes on, and what to do about the others.

Every key has a class. *Free*: what a step computes stays the same, at least up to rounding. *Allowed*: the steps to
come do what the user wants now, from a state that keeps its meaning. *Refused*: the state would mean something else.
What is in no rule here, an option of somebody else's architecture, is refused. The table in
`docs/reference/resuming-options.md` is made from this one, and a test finds a rule for every key there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from milepost.errors import ResumeError
from milepost.options import Difference

Change = Literal["free", "allowed", "refused"]
TRAINING = "architecture.training"
CHANGES: tuple[Change, ...] = ("refused", "allowed", "free")
"""The classes, in the order in which a person wants to read them."""


@dataclass(frozen=True)
class Rule:
    """Class the keys that match one of the patterns.

    `why` completes "it is … because"; `remedy` is what to do instead of a refused change. `identifies` marks keys that
    a run which goes on does not need, but in which two runs that differ are two experiments.
    """

    keys: tuple[str, ...]
    change: Change
    why: str
    remedy: str = ""
    identifies: bool = False

    @property
    def telling(self) -> bool:
        """Whether another value makes another run."""
        return self.identifies or self.change == "refused"


ANEW = "start a new run, without --restart"
FROM_WEIGHTS = f"{ANEW}; to begin with these weights, name the file under {TRAINING}.finetune.read_from"
BUT_SEEN = f"{FROM_WEIGHTS}, and mind that they may have been trained on what is held out now"

SAVING = ("every_steps", "every_epochs", "every_minutes", "keep_last", "keep_best", "durability")
RULES = (
    Rule(("device",), "free", "the same is computed elsewhere; the last bits may differ"),
    Rule((f"{TRAINING}.compile",), "free", "the same is computed by other code; the last bits may differ"),
    Rule((f"{TRAINING}.log_every_steps",), "free", "it changes what is printed"),
    Rule((f"{TRAINING}.loader_workers",), "free", "it changes who makes the batches, not the batches"),
    Rule(
        tuple(f"checkpoints.{key}" for key in SAVING),
        "free",
        "it changes what is saved and when, not the state; a rollback goes back to what is saved",
    ),
    Rule(("course.savecheck", "course.ckpt_name"), "free", "it changes which copies are made, not the state"),
    Rule(
        (f"{TRAINING}.finetune.*", "course.loadcheck", "course.start_from"),
        "free",
        "it was read once, when the run began",
        identifies=True,
    ),
    Rule(("course.stop_after",), "allowed", "it decides which task ends the run"),
    Rule(
        ("*.read_from", "tasks.data_dir", "tasks.*.images", "tasks.*.labels"),
        "free",
        "what the files hold is compared, not where they lie",
        identifies=True,
    ),
    Rule(
        (f"{TRAINING}.epochs", f"{TRAINING}.steps"),
        "allowed",
        "the learning rate follows its course stretched over the new length; of several tasks only within the first, "
        "and where a new run begins with the file of a task's end by --loadcheck: then for the tasks to come",
    ),
    Rule((f"{TRAINING}.early_stopping.*",), "allowed", "it decides when to stop, from the next evaluation on"),
    Rule((f"{TRAINING}.evaluate_every_epochs",), "allowed", "it decides when to measure, from the next step on"),
    Rule(
        (f"{TRAINING}.on_nan", f"{TRAINING}.rollback_checkpoints"),
        "allowed",
        "it decides what the next step that diverges leads to",
    ),
    Rule(
        ("checkpoints.monitor", "checkpoints.mode"),
        "allowed",
        "it decides what is best; the best of another metric is forgotten",
    ),
    Rule(("architecture.name", "architecture.model.*"), "refused", "the weights have no place in another model", ANEW),
    Rule(("seed",), "refused", "the order of the examples and their split follow from it", BUT_SEEN),
    Rule(("base_precision",), "refused", "the state is saved in it", FROM_WEIGHTS),
    Rule(
        (f"{TRAINING}.batch_size", f"{TRAINING}.accumulate_batches"),
        "refused",
        "the position in the epoch counts steps of so many examples",
        FROM_WEIGHTS,
    ),
    Rule(
        (f"{TRAINING}.optimizer.*", f"{TRAINING}.schedule.*", f"{TRAINING}.ema_decay"),
        "refused",
        "its state was gathered with the old value",
        FROM_WEIGHTS,
    ),
    Rule(
        (f"{TRAINING}.gradient_clip", f"{TRAINING}.mixed_precision", f"{TRAINING}.loss.*"),
        "refused",
        "the optimizer's state was gathered with other gradients",
        FROM_WEIGHTS,
    ),
    Rule(("learner.*",), "refused", "what it keeps was gathered with the old value", FROM_WEIGHTS),
    Rule(
        ("tasks", "tasks.*", "training_set*", "validation_set", "validation_set.*", "test_set", "test_set.*"),
        "refused",
        "the state was reached on the examples of the saved split",
        BUT_SEEN,
    ),
)
UNKNOWN = Rule(("*",), "refused", "the architecture that has this option may depend on it", FROM_WEIGHTS)


def rule_for(difference: Difference) -> Rule:
    """Return the rule for a difference between saved and given options: the first that matches."""
    place = isinstance(difference.old, str) and isinstance(difference.new, str) and difference.key.endswith("_set")
    key = f"{difference.key}.read_from" if place else difference.key  # a set may be given by the name of its file
    return named_rule(key) or UNKNOWN


def named_rule(key: str) -> Rule | None:
    """Return the first rule that matches a dotted key, or None for a key that nobody has thought of."""
    return next((rule for rule in RULES if any(fnmatchcase(key, pattern) for pattern in rule.keys)), None)


def report(found: Sequence[Difference], *, remedies: bool = True) -> list[str]:
    """Write a line for each difference, saved → given: the refused ones first, each with what to do."""
    ruled = [(rule_for(difference), difference) for difference in found]
    ordered = sorted(ruled, key=lambda pair: CHANGES.index(pair[0].change))
    return [
        f"{rule.change}: {difference} ({rule.why}{f': {rule.remedy}' if rule.remedy and remedies else ''})"
        for rule, difference in ordered
    ]


def check_beginning(found: Sequence[Difference], where: str) -> None:
    """Raise ResumeError listing the refused differences from a file that a new run was to begin with."""
    refused = [difference for difference in found if rule_for(difference).change == "refused"]
    if not refused:
        return
    rules = [rule_for(difference).remedy for difference in refused]
    remedy = (
        "Restore these values: the weights fit no other model." if ANEW in rules
        else "To begin with the weights alone, leave --loadcheck (course.loadcheck) away, and name the file under "
        f"{TRAINING}.finetune.read_from" + (BUT_SEEN.removeprefix(FROM_WEIGHTS) if BUT_SEEN in rules else "") + "."
    )  # fmt: skip
    raise ResumeError(
        f"could not begin with '{where}': expected the options that it was saved with, found {len(refused)} that can't "
        "change between tasks (saved → given):\n  " + "\n  ".join(report(refused, remedies=False)) + f"\n{remedy}"
    )
