"""Find the files of a published set of images on this machine.

Where the options name a folder, it is looked in and nowhere else; otherwise in $MILEPOST_DATA, in `data/` beside the
options and where packages put the set. A folder of several sets may have one of its own for each. Failure: DataError
that says where it looked, what it looked for and how to get it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milepost.errors import DataError

VARIABLE = "MILEPOST_DATA"


@dataclass(frozen=True)
class Layout:
    """Describe the files of a set: their names, the folders they usually lie in, and where to get them.

    `pickled` are names of another version of the set that is never read: a pickle runs code when it is opened.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    advice: str
    system: tuple[str, ...] = ()
    pickled: tuple[str, ...] = ()


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

LAYOUTS = {
    "mnist": Layout(
        IDX_FILES,
        ("mnist", "MNIST", "MNIST/raw"),
        "Get them from 'The MNIST database of handwritten digits' by LeCun, Cortes and Burges",
    ),
    "fashion-mnist": Layout(
        IDX_FILES,
        ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
        "Get them from the repository of Fashion-MNIST by Xiao, Rasul and Vollgraf; Debian's package "
        "dataset-fashion-mnist has them too",
        system=("/usr/share/datasets/fashion-mnist",),
    ),
    "cifar10": Layout(
        _CIFAR10_FILES,
        ("cifar10", "cifar-10-batches-bin"),
        "Get 'CIFAR-10 binary version' from Krizhevsky's page https://www.cs.toronto.edu/~kriz/cifar.html and unpack "
        "it",
        pickled=("cifar-10-batches-py", "data_batch_1"),
    ),
    "cifar100": Layout(
        ("train.bin", "test.bin", "fine_label_names.txt"),
        ("cifar100", "cifar-100-binary"),
        "Get 'CIFAR-100 binary version' from Krizhevsky's page https://www.cs.toronto.edu/~kriz/cifar.html and unpack "
        "it",
        pickled=("cifar-100-python", "fine_label_names"),
    ),
}


def find_files(name: str, data_dir: str | None, folder: Path) -> list[Path]:
    """Return the files of the set of this name, in the order of its layout; relative paths begin at `folder`."""
    layout = LAYOUTS[name]
    places = [place for place in _places(layout, data_dir, folder) if place.is_dir()]
    for place in places:
        found = [_file(place, file) for file in layout.files]
        whole = [path for path in found if path is not None]
        if len(whole) == len(layout.files):
            return whole
    raise _missing(name, layout, data_dir, folder)


def _places(layout: Layout, data_dir: str | None, folder: Path) -> list[Path]:
    """List the folders to look in. Sets of the same file names must not be mixed up: only a folder that the user named
    for this run may hold the files directly.
    """
    if data_dir is not None:
        named = folder / Path(data_dir).expanduser()
        return [*(named / inner for inner in layout.folders), named]
    roots = [folder / "data"]
    if os.environ.get(VARIABLE):
        roots.insert(0, folder / Path(os.environ[VARIABLE]).expanduser())
    return [*(root / inner for root in roots for inner in layout.folders), *map(Path, layout.system)]


def _file(place: Path, name: str) -> Path | None:
    """Find a file, compressed or not; some programs that unpack write a dot for the last hyphen of an IDX name."""
    names = [name, f"{name}.gz"]
    if "-idx" in name:
        head, _, tail = name.rpartition("-idx")
        names += [f"{head}.idx{tail}", f"{head}.idx{tail}.gz"]
    return next((place / each for each in names if (place / each).is_file()), None)


def _missing(name: str, layout: Layout, data_dir: str | None, folder: Path) -> DataError:
    places = _places(layout, data_dir, folder)
    looked = "\n  ".join(str(place) for place in places)
    found = _pickled(layout, places)
    remedy = f"{layout.advice}, and name their folder under tasks.data_dir or in ${VARIABLE}."
    if found is not None:
        remedy = f"'{found}' is the Python version, a pickle, which runs code when it is opened. {remedy}"
    return DataError(
        f"could not find the images of '{name}': expected {_listed(layout.files)}, each as it is or as .gz, found no "
        f"folder with all of them. Looked in:\n  {looked}\n{remedy}"
    )


def _pickled(layout: Layout, places: Sequence[Path]) -> Path | None:
    around = dict.fromkeys([*places, *(place.parent for place in places)])
    return next((p / n for p in around for n in layout.pickled if (p / n).exists()), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"
