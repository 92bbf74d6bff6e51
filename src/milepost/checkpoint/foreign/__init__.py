"""Files that other programs wrote, read without running anything that is in them.

Promise: a closed interpreter of pickles, which knows tensors and plain containers, describes every other object and
imports nothing. Kinds are recognized by content. Needs torch once tensors are read.
Failure: ForeignFileError for damaged and hostile files; the attacks that are tested are in `tests/attacks`.
"""

from milepost.checkpoint.foreign.file import ForeignFile
from milepost.checkpoint.foreign.opening import open_foreign

__all__ = ["ForeignFile", "open_foreign"]
