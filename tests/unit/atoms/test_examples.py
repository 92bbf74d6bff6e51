"""Structures outlive their data set as examples, and come back as the batch that they were; shapes stay few."""

from pathlib import Path

import ase
import pytest
import torch

from frames import crystal, frame, labelled, molecule, potential, structures
from milepost.archive import Archive, write_archive
from milepost.atoms.dataset import Structures
from milepost.atoms.examples import KEPT_SHAPES, StructureSet
from milepost.atoms.loss import Loss
from milepost.atoms.options import LossOptions
from milepost.learning import Examples
from milepost.learning.buffers import make_buffer

STRESS = torch.diag(torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)).numpy()


def data() -> Structures:
    """Make structures of many sizes: molecules, a crystal with many neighbors, an atom alone, targets missing."""
    return structures(
        [
            frame(labelled(molecule(1, atoms=4), 1)),
            frame(labelled(crystal(), 2), stress=STRESS),
            frame(labelled(ase.Atoms("O"), 3)),
            frame(labelled(molecule(2, atoms=7), 4), forces=None),
            frame(labelled(molecule(3, atoms=5), 5), energy=None),
            frame(labelled(molecule(4, atoms=3), 6)),
        ]
    )


def made(batch_size: int = 3) -> StructureSet:
    return StructureSet(data(), batch_size)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atoms: int, held: int) -> None:
    """Compare batches up to padding, which counts nowhere in either."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        length = held if name in ("sizes", "energies", "energy_weights", "virials", "stress_weights") else atoms
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value[:length], other[name][:length]), name
        if name.endswith("_weights"):
            assert not value[length:].any()
            assert not other[name][length:].any()


@pytest.mark.parametrize("chosen", [[0], [1], [2], [3, 1], [5, 2, 4], [4, 4, 1], [0, 1, 2, 3, 4, 5]], ids=str)
def test_a_batch_of_examples_is_the_batch_of_the_same_structures(chosen: list[int]) -> None:
    source, indices = made(6), torch.tensor(chosen)
    same(source.batch(indices), source.collate(source.examples(indices)), int(data().count[indices].sum()), len(chosen))


def test_examples_come_through_a_buffer_and_an_archive(tmp_path: Path) -> None:
    source = made(6)
    buffer = make_buffer("reservoir", 6, 0)
    for part in ([0, 1], [2], [3, 4, 5]):
        buffer.add(source.examples(torch.tensor(part)))
    write_archive(tmp_path / "kept", kind="checkpoint", components={"buffer": buffer.state_dict()})
    again = make_buffer("reservoir", 6, 1)
    with Archive.open(tmp_path / "kept") as archive:
        again.load_state_dict(archive.tree("buffer"))
    slots = torch.tensor([1, 3, 0, 2])
    expected = source.batch(slots)
    for each in (buffer, again):
        same(expected, source.collate(each.get(slots)), 14, 4)


def test_an_example_is_no_wider_than_it_needs() -> None:
    found = made().examples(torch.tensor([2, 0, 1]))
    tables = [tuple(table.shape) for table in found["neighbors"]]
    assert tables[0] == (1, 0)
    assert tables[1][1] < tables[2][1] == data().slots
    assert {part.dtype for name in ("neighbors", "reverse", "species") for part in found[name]} == {torch.int32}


def test_examples_share_no_memory_with_the_data() -> None:
    source = made()
    before = source.batch(torch.tensor([0]))
    for value in source.examples(torch.tensor([0])).values():
        for part in value:
            part.zero_()
    same(before, source.batch(torch.tensor([0])), 4, 1)


def recalling(source: StructureSet, indices: torch.Tensor) -> Examples:
    """Return examples with something recalled: a number for each structure, rows for each atom."""
    examples = dict(source.examples(indices))
    forces = [torch.full((len(part), 3), float(i)) for i, part in enumerate(examples["species"])]
    return examples | {"recalled.energies": torch.arange(1.0, len(indices) + 1), "recalled.forces": forces}


def test_what_is_recalled_is_laid_out_like_the_outputs() -> None:
    source, indices = made(6), torch.tensor([3, 5])
    batch = source.collate(recalling(source, indices))
    assert batch["recalled.energies"].shape == batch["energies"].shape
    assert batch["recalled.forces"].shape == batch["forces"].shape
    assert batch["recalled.energies"].tolist()[:2] == [1.0, 2.0]
    assert batch["recalled.forces"][:, 0].tolist()[:10] == [0.0] * 7 + [1.0] * 3
    assert not batch["recalled.forces"][10:].any()


def test_forces_of_structures_of_one_size_may_be_one_tensor() -> None:
    source, indices = made(6), torch.tensor([0, 0])
    examples = {name: torch.stack(v) if isinstance(v, list) else v for name, v in recalling(source, indices).items()}
    batch = source.collate(examples)
    assert batch["recalled.forces"][:8, 0].tolist() == [0.0] * 4 + [1.0] * 4
    same(source.batch(indices), {n: v for n, v in batch.items() if not n.startswith("recalled.")}, 8, 2)


def test_the_shapes_of_kept_structures_are_few() -> None:
    source = made(2)
    pairs = [torch.tensor([i, j]) for i in range(6) for j in range(6) if i != j]
    found = {tuple(source.collate(source.examples(pair))["vectors"].shape) for pair in pairs}
    assert len(found) == KEPT_SHAPES


def test_more_structures_than_any_shape_holds_are_not_padded() -> None:
    source = made(2)
    twice = torch.tensor([3, 3, 3, 3, 3, 3, 3])
    batch = source.collate(source.examples(twice))
    assert (len(batch["energies"]), len(batch["species"])) == (7, 49)


def test_padding_of_kept_structures_changes_no_loss() -> None:
    source, model = made(6), potential()
    loss = Loss(LossOptions(), 1.3, with_stress=True)
    indices = torch.tensor([5, 1, 2])
    batch = source.collate(source.examples(indices))
    assert len(batch["species"]) > 6
    total, _ = loss(model, batch)
    expected, _ = loss(model, data().batch(indices, (3, 6)))
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-14)


def test_structures_of_another_data_set_are_refused() -> None:
    small = StructureSet(structures([frame(labelled(molecule(1, atoms=4)))]), 1)
    expected = (
        f"expected at most {small.structures.slots} neighbors of an atom, as in the data set, found {data().slots}"
    )
    with pytest.raises(ValueError, match=expected):
        small.collate(made().examples(torch.tensor([1])))


def test_an_epoch_changes_nothing() -> None:
    source = made()
    same(source.batch(torch.tensor([0, 3])), source.batch(torch.tensor([0, 3]), 5), 11, 2)
