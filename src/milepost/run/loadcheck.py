"""Begin a run with what a file holds: a checkpoint of ours, one of Mammoth's, or weights by name; from disk or the web.

| file | what is taken |
|---|---|
| a checkpoint of ours | everything: the run goes on where that one stood, in a directory of its own |
| a checkpoint of Mammoth's | weights, buffer, results: the run goes on with the task after the last that has results |
| weights by name | the weights that fit; everything else is new |

Promise: what was and was not loaded is said line by line. The file is needed only until the run has saved a checkpoint
of its own, which names it by its digest.
Failure: ResumeError where nothing can be begun with the file, StateMismatchError where no tensor of it fits, the errors
of opening it otherwise; before anything is computed.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from milepost.archive import Archive, kind_of
from milepost.archive.digest import named
from milepost.archive.source import Source
from milepost.checkpoint import load_checkpoint
from milepost.checkpoint.downloading import downloaded, is_address, shown
from milepost.checkpoint.mammoth import KIND, read_mammoth
from milepost.checkpoint.parameter_names import Fit, fit
from milepost.checkpoint.selection import foreign_weights, own_weights
from milepost.errors import ResumeError, StateMismatchError
from milepost.options import RootOptions
from milepost.run.mammoth import put_found
from milepost.run.session import FACTS, TrainingState

if TYPE_CHECKING:
    from torch import Tensor

    from milepost.checkpoint.foreign import ForeignFile

WHOLE = {"model", "optimizer", "position", *FACTS}
"""Components of a checkpoint from which a run goes on."""


@dataclass(frozen=True)
class Given:
    """Hold the file that a run begins with; `where` shows it to people. `foreign` is None for a file of ours.

    `whole` tells that it is a checkpoint of a run, from which another goes on.
    """

    path: Path
    where: str
    digest: str
    foreign: "ForeignFile | None"
    whole: bool

    def put_weights(self, model: nn.Module) -> Iterator[str]:
        """Put the tensors that fit into a model; say what was and what was not.

        Raises StateMismatchError where none fits.
        """
        own = cast(dict[str, Any], model.state_dict())
        found = fit(own, self._weights())
        if not found.tensors:
            raise StateMismatchError(_nothing_fits(self.where, list(own), found))
        weights = {name for name, _ in model.named_parameters()}
        if broken := [name for name, x in found.tensors.items() if name in weights and not bool(x.isfinite().all())]:
            raise StateMismatchError(
                f"could not begin with '{self.where}': expected finite weights, found NaN or infinity in "
                f"{', '.join(broken)}. Give the file of a model that was trained without."
            )
        model.load_state_dict({**own, **found.tensors})
        yield f"beginning with '{self.where}' ({self.digest[:19]}…)"
        yield from found.report()

    def put_state(self, state: TrainingState, options: RootOptions) -> Iterator[str]:
        """Take over what a file of Mammoth's holds beside weights, and go to the task after those it has results of."""
        if self.foreign is None or self.foreign.kind != KIND:
            yield "new, the file has weights alone: everything else"
            return
        yield from put_found(read_mammoth(self.foreign), state, options, self.where)

    def _weights(self) -> "dict[str, Tensor]":
        if self.foreign is not None:
            return dict(foreign_weights(self.foreign, self.where).tensors)
        with load_checkpoint(self.path) as checkpoint:
            return dict(own_weights(checkpoint).tensors)


@contextmanager
def given_file(options: RootOptions, folder: Path) -> Generator[Given | None]:
    """Open the file that `course.loadcheck` names, relative to a folder; None where it names none.

    Raises ResumeError, FileNotFoundError, ForeignFileError and the ArchiveError family.
    """
    name = options.course.loadcheck
    if name is None:
        yield None
    elif is_address(name):
        with downloaded(name) as path:
            yield replace(_opened(path, shown(name)), where=shown(name))
    else:
        yield _opened(folder / Path(name).expanduser(), name)


def _opened(path: Path, where: str) -> Given:
    if not path.exists():
        raise ResumeError(
            f"could not begin with '{where}': expected a file, found none. Correct --loadcheck, or course.loadcheck."
        )
    if path.is_file() and kind_of(path) is not None:
        with load_checkpoint(path) as checkpoint:
            whole = WHOLE.issubset(checkpoint.components)
        with Archive.open(path) as archive:
            return Given(path, where, archive.digest, None, whole)
    from milepost.checkpoint.foreign import open_foreign

    found = open_foreign(path)
    if found is None or not path.is_file():
        raise ResumeError(
            f"could not begin with '{where}': expected a checkpoint of Milepost or Mammoth, or a file of weights, "
            "found something else. `milepost show` says what it is."
        )
    with Source(path) as content:
        return Given(path, where, named(content.hash_range(0, content.size)), found, whole=False)


def _nothing_fits(where: str, wanted: list[str], found: Fit) -> str:
    problems = [f"mismatched: {line}" for line in found.mismatched] or [
        f"expected names like '{wanted[0]}', found {next(iter(found.unexpected), 'none')}"
    ]
    return (
        f"could not begin with '{where}', none of whose tensors fits:\n  " + "\n  ".join(problems)
        + "\nBuild the model as it was built for the file, or give another file."
    )  # fmt: skip
