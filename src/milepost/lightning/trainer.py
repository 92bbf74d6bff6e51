"""A Trainer that goes on by itself, for programs whose Trainer is named in a configuration file.

Promise: `fit` starts from the furthest sound checkpoint in a folder, or from the beginning where there is none.
Failure: ResumeError where the folder holds files and none of them is sound; UnsupportedVersionError where one is of a
newer version.
"""

import warnings
from pathlib import Path
from typing import Any

from milepost.checkpoint import newest_verified
from milepost.errors import ResumeError
from milepost.lightning.distribution import Trainer


class ResumingTrainer(Trainer):
    """Fit from the furthest sound checkpoint in `resume_from`; everything else is Lightning's Trainer.

    The same call serves for the first start and for every later one. Damaged files are passed over, each named in a
    warning. A `ckpt_path` that is given to `fit` counts instead.
    """

    def __init__(self, *, resume_from: Path | str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.resume_from = Path(resume_from)

    def fit(self, *arguments: Any, ckpt_path: Path | str | None = None, **options: Any) -> None:
        """Train, from the checkpoint that is found where none is given."""
        super().fit(*arguments, ckpt_path=ckpt_path or furthest(self.resume_from), **options)


def furthest(folder: Path | str) -> Path | None:
    """Return the furthest sound checkpoint in a folder, None where there is no file at all.

    Warns of each damaged file that is passed over. Raises ResumeError if all are damaged, UnsupportedVersionError if
    one is of a newer version: that is never passed over.
    """
    path, damaged = newest_verified(folder)
    reasons = [f"{entry.path}: {'; '.join(entry.damage)}" for entry in damaged]
    if path is None and reasons:
        raise ResumeError(
            f"could not resume from '{folder}': expected a sound checkpoint, found only damaged files: "
            f"{' | '.join(reasons)}. Move them away to start from the beginning."
        )
    for reason in reasons:
        warnings.warn(f"going on from {path}; passed over {reason}", stacklevel=3)
    return path
