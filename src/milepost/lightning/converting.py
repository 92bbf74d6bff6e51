"""A checkpoint that Lightning saved → the components that the plug-in saves and loads.

Promise: a Trainer with the plug-in resumes from what is made of it; an object of a class that is not plain is described
as `milepost.checkpoint.foreign` does, and comes back as that description.
Failure: UnsavableError naming the place of a value that has no plain form.
"""

from milepost.checkpoint.converting import Arrangement
from milepost.checkpoint.foreign import ForeignFile
from milepost.lightning.contents import REST, VERSION, components_of, options_text


def arranged(found: ForeignFile) -> Arrangement:
    """Lay out Lightning's checkpoint dict, without running anything that the file names."""
    components = components_of(found.tree())
    return Arrangement(components, {REST: VERSION}, options_text(components))
