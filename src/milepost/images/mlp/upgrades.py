"""Version of the architecture `mlp`, and the steps that open its older files.

A change of any tensor's name, shape or meaning raises VERSION and adds the step that leads there. Each step
is a pure function of plain data: (model options, tensors by name) → the same, one version on.
"""

from milepost.model import Upgrade

VERSION = 1

UPGRADES: dict[int, Upgrade] = {}
