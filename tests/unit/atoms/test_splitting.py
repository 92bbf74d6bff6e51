"""No frame is in two sets; the split is a pure function of options and files; its record names no folder."""

import json
import re
import shutil
from itertools import chain
from pathlib import Path

import ase
import ase.io
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frames import labelled, options, write
from milepost.atoms.options import LENGTH_UNITS
from milepost.atoms.splitting import Split, frame_numbers, split_tasks
from milepost.errors import DataError

NAMES = ("training", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make `a.xyz` of 20 frames, whose energies are their numbers, and `b.xyz` of 5, from 100 on."""
    path = tmp_path_factory.mktemp("data")
    for name, start, count in (("a", 0, 20), ("b", 100, 5)):
        numbers = range(start, start + count)
        write(path / f"{name}.xyz", [labelled(ase.Atoms("H"), energy=float(i)) for i in numbers])
    shutil.copy(path / "a.xyz", path / "copy.xyz")
    return path


def split(folder: Path, *overrides: str) -> Split:
    text = "architecture: {name: cairn}\ntraining_set: {systems: a.xyz}\n"
    ((name, found),) = split_tasks(options(text, *overrides), folder)
    assert name == ""
    return found


def numbers(found: Split) -> dict[str, list[int]]:
    """Tell frames by their energies."""
    return {name: [int(f.energy or 0) for f in found.frames[name]] for name in NAMES}


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(DataError) as caught:
        split(folder, *overrides)
    return str(caught.value)


# Ways to choose


def test_fractions_are_drawn_with_the_seed(folder: Path) -> None:
    first = numbers(split(folder, "validation_set=0.2", "test_set=0.1"))
    assert {name: len(found) for name, found in first.items()} == {"training": 14, "validation": 4, "test": 2}
    assert sorted(chain.from_iterable(first.values())) == list(range(20))
    assert numbers(split(folder, "validation_set=0.2", "test_set=0.1")) == first
    assert numbers(split(folder, "validation_set=0.2", "test_set=0.1", "seed=1")) != first


def test_a_small_fraction_is_one_frame_and_zero_is_none(folder: Path) -> None:
    found = numbers(split(folder, "validation_set=0.001", "test_set=0"))
    assert {name: len(frames) for name, frames in found.items()} == {
        "training": 19,
        "validation": 1,
        "test": 0,
    }


def test_another_file_leaves_the_training_file_whole(folder: Path) -> None:
    found = numbers(split(folder, "validation_set=b.xyz", "test_set=0.1"))
    assert found["validation"] == [100, 101, 102, 103, 104]
    assert sorted(found["training"] + found["test"]) == list(range(20))


def test_frames_of_another_file_can_be_chosen(folder: Path) -> None:
    validation = ("validation_set.systems=b.xyz", "validation_set.indices=[4, 0]")
    test = ("test_set.systems=b.xyz", "test_set.indices='1:3'")
    found = split(folder, *validation, *test)
    assert numbers(found)["validation"] == [104, 100]
    assert numbers(found)["test"] == [101, 102]
    assert len(found.frames["training"]) == 20


LENGTHS = """
architecture: {name: cairn}
training_set: {systems: {read_from: a.xyz, length_unit: %s}}
validation_set: %s
"""


@pytest.mark.parametrize(
    ("training", "held_out", "expected"),
    [
        ("angstrom", "b.xyz", "angstrom"),
        ("bohr", "b.xyz", "bohr"),
        ("nm", "{systems: b.xyz}", "nm"),
        ("bohr", "{systems: [b.xyz]}", "bohr"),
        ("bohr", "{systems: {read_from: b.xyz}}", "bohr"),
        ("bohr", "{systems: {read_from: b.xyz, length_unit: null}}", "bohr"),
        ("bohr", "{systems: {read_from: b.xyz, length_unit: angstrom}}", "angstrom"),
        ("angstrom", "{systems: {read_from: b.xyz, length_unit: nm}}", "nm"),
    ],
)
def test_files_of_a_held_out_set_are_read_in_the_units_of_the_training_set(
    folder: Path, training: str, held_out: str, expected: str
) -> None:
    """Another unit is taken where it is set, and only there."""
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 1.5]])
    there = folder / f"{training}-{expected}"
    there.mkdir(exist_ok=True)
    write(there / "a.xyz", [labelled(atoms, energy=0.0)])
    write(there / "b.xyz", [labelled(atoms, energy=1.0)])
    found = split_tasks(options(LENGTHS % (training, held_out)), there)[0][1].frames
    assert found["training"][0].positions[1, 2] == pytest.approx(1.5 * LENGTH_UNITS[training])
    assert found["validation"][0].positions[1, 2] == pytest.approx(1.5 * LENGTH_UNITS[expected])


def test_lists_and_slices_choose_frames(folder: Path) -> None:
    found = numbers(split(folder, "validation_set.indices=[3, 1]", "test_set.indices='-4::2'"))
    assert found["validation"] == [3, 1]
    assert found["test"] == [16, 18]
    assert found["training"] == [i for i in range(20) if i not in {1, 3, 16, 18}]


def test_a_training_list_leaves_the_rest_to_fractions(folder: Path) -> None:
    found = numbers(split(folder, "training_set.indices='0:10'", "validation_set=0.5"))
    assert found["training"] == list(range(10))
    assert found["validation"] == list(range(10, 20))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, range(6)),
        (":", range(6)),
        ("1:5:2", [1, 3]),
        ("::-1", range(5, -1, -1)),
        (" 4 : ", [4, 5]),
        ([5, 0], [5, 0]),
    ],
)
def test_frame_numbers(setting: list[int] | str | None, expected: list[int]) -> None:
    assert frame_numbers(setting, 6, "k") == list(expected)


# What is refused


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ([0, 6, -1], "expected numbers from 0 to 5, found [6, -1]. The files hold fewer frames than that."),
        ([2, 1, 2], "expected every number once, found [2] more often. Correct the indices."),
        ([], "expected at least 1 frame, found 0 of 6 by '[]'. Leave the set out or correct the indices."),
        ("6:", "expected at least 1 frame, found 0 of 6 by '6:'. Leave the set out or correct the indices."),
        ("a:b", "expected a list of numbers or 'start:stop:step', found 'a:b'. Correct the indices."),
        ("3", "expected a list of numbers or 'start:stop:step', found '3'. Correct the indices."),
        ("1:2:3:4", "expected a list of numbers or 'start:stop:step', found '1:2:3:4'. Correct the indices."),
        ("0:6:0", "expected a list of numbers or 'start:stop:step', found '0:6:0'. Correct the indices."),
    ],
)  # fmt: skip
def test_frame_numbers_that_mean_nothing_are_refused(setting: list[int] | str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        frame_numbers(setting, 6, "test_set.indices")
    assert str(caught.value) == f"could not choose frames by 'test_set.indices': {message}"


@pytest.mark.parametrize(
    ("overrides", "where", "first", "second"),
    [
        (("validation_set.indices='0:5'", "test_set.indices=[4]"), "a.xyz, frame 4", "validation", "test"),
        (
            ("training_set.indices='0:5'", "validation_set.indices=[2]"),
            "a.xyz, frame 2",
            "validation",
            "training",
        ),
        (("validation_set=copy.xyz",), "a.xyz, frame 0", "validation", "training"),
        (("validation_set=b.xyz", "test_set=b.xyz"), "b.xyz, frame 0", "validation", "test"),
    ],
    ids=["held-out lists", "training list", "a copy of the file", "one file for two sets"],
)
def test_a_frame_in_two_sets_is_refused(
    folder: Path, overrides: tuple[str, ...], where: str, first: str, second: str
) -> None:
    assert refusal(folder, *overrides) == (
        f"could not split the data: expected every frame in one set, found {folder}/{where} in "
        f"'{first}' and '{second}'. Correct the files or the indices."
    )


def test_no_frame_left_to_train_on_is_refused(folder: Path) -> None:
    assert refusal(folder, "validation_set.indices=':'") == (
        "could not form the training set: expected at least 1 frame, found 0 of 20. "
        "Hold out fewer frames or give more data."
    )


def test_a_fraction_of_more_frames_than_are_left_is_refused(folder: Path) -> None:
    assert refusal(folder, "training_set.indices='1:'", "validation_set=0.1") == (
        "could not draw the validation set: expected 2 frames (0.1 of 20), found 1 that no other set takes. "
        "Set validation_set to 0 for none, or list fewer frames in the other sets."
    )


def test_a_missing_file_of_a_held_out_set_is_refused(folder: Path) -> None:
    expected = f"could not read structures from 'no.xyz': no such file in {folder}."
    assert refusal(folder, "test_set=no.xyz").startswith(expected)


# Properties

FRACTION = st.floats(0, 0.15).map(lambda x: f"{x:.3f}")
CHOSEN = st.lists(st.integers(0, 19), min_size=1, max_size=6, unique=True).map(str)


@settings(max_examples=25)
@given(
    validation=st.one_of(FRACTION, CHOSEN), test=st.one_of(FRACTION, CHOSEN), training=st.none() | CHOSEN,
    seed=st.integers(0, 99),
)  # fmt: skip
def test_sets_are_disjoint_and_complete(
    folder: Path, validation: str, test: str, training: str | None, seed: int
) -> None:
    overrides = [f"seed={seed}"]
    for name, setting in (("validation_set", validation), ("test_set", test), ("training_set", training)):
        if setting is not None:
            overrides.append(f"{name}.indices={setting}" if "[" in setting else f"{name}={setting}")
    listed = [json.loads(s) for s in (validation, test, training or "[]") if "[" in s]
    overlap = len(set().union(*listed)) < sum(map(len, listed))
    if overlap:
        with pytest.raises(DataError, match=r"expected every frame in one set|that no other set takes"):
            split(folder, *overrides)
        return
    found = numbers(split(folder, *overrides))
    everything = list(chain.from_iterable(found.values()))
    assert len(set(everything)) == len(everything)
    assert training is not None or len(everything) == 20
    assert found["training"]


# The record


def test_the_record_says_which_frames_of_which_files(folder: Path) -> None:
    found = split(folder, "validation_set=b.xyz", "test_set=0.1")
    record = json.loads(json.dumps(found.record))
    for name in NAMES:
        own = 100 if name == "validation" else 0
        assert record["frames"][name] == [n - own for n in numbers(found)[name]]
    assert list(record["files"]["training"]) == ["0:a.xyz"]
    assert list(record["files"]["validation"]) == ["0:b.xyz"]
    assert re.fullmatch("blake3:[0-9a-f]{64}", record["files"]["training"]["0:a.xyz"])


def test_the_record_is_the_same_anywhere_and_names_no_folder(folder: Path, tmp_path: Path) -> None:
    for name in ("a.xyz", "b.xyz"):
        shutil.copy(folder / name, tmp_path / name)
    settings = ("validation_set=b.xyz", "test_set=0.1")
    here, there = split(folder, *settings).record, split(tmp_path, *settings).record
    assert here == there
    assert str(folder) not in json.dumps(here)
    assert "/" not in json.dumps(here)


def test_the_record_changes_with_the_file(folder: Path, tmp_path: Path) -> None:
    changed = ase.io.read(folder / "a.xyz", index=":")
    write(tmp_path / "a.xyz", [labelled(atoms, energy=atoms.calc.results["energy"] + 1e-6) for atoms in changed])
    here, there = split(folder).record, split(tmp_path).record
    assert here["frames"] == there["frames"]
    assert here["files"]["training"] != there["files"]["training"]
