"""Learn all tasks at once, as if they were one: the upper bound that learners are compared with."""

from milepost.learning.learners.finetune import Finetune


class Joint(Finetune):
    """Minimise the loss over the examples of every task."""

    joint = True
