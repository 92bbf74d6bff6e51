"""Save into a folder that another process saves into as well.

    python contending_saves.py FOLDER RUN FIRST LAST KEEP same|own

With `same`, each step goes to one name that both processes want, and what is there is never replaced; prints each step
that this process won. With `own`, the steps of this run are its own, are retired by its policy, and all are printed.
"""

import sys
import time
from pathlib import Path

from faults.injection import Unsynced
from faults.sequence import commit, save
from milepost.errors import OverwriteError


def main(folder: str, run: str, first: str, last: str, keep: str, names: str) -> None:
    """Save the steps, from the moment when both processes are ready."""
    Path(folder, f".{run}.ready").touch()
    end = time.monotonic() + 60
    while len(list(Path(folder).glob(".*.ready"))) < 2:
        if time.monotonic() > end:
            raise TimeoutError("the other process never came")
    for step in range(int(first), int(last)):
        if names == "own":
            save(Path(folder), step, run=run, keep=int(keep), filesystem=Unsynced())
            print(step)
            continue
        try:
            commit(Path(folder), step, run=run, filesystem=Unsynced())
            print(step)
        except OverwriteError:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
