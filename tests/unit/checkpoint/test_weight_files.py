"""What other programs open holds the same bits, ties as each format says them, and is compared before it is there."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from milepost.archive import atomic_write
from milepost.checkpoint import weight_files
from milepost.checkpoint.weight_files import CheckedFileSystem, SafetensorsFile, StateDictFile, compare, ties
from milepost.errors import ConversionError

KINDS = [(SafetensorsFile, ".safetensors"), (StateDictFile, ".pt")]


class Tied(nn.Module):
    """A model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor(5))


def tensors() -> dict[str, torch.Tensor]:
    """Make a tensor of every dtype that safetensors has, and of unusual forms."""
    dtypes = [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8,
    ]  # fmt: skip
    made = {f"of.{dtype}": torch.arange(1, 4).to(torch.float32).to(dtype) for dtype in dtypes}
    whole = torch.arange(12.0)
    return made | {
        "bool": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "transposed": whole.reshape(3, 4).t(),
        "part": whole[3:5],
        "parameter": nn.Parameter(torch.tensor([float("nan"), -0.0])),
    }


def write(kind: type[SafetensorsFile] | type[StateDictFile], path: Path, values: dict[str, torch.Tensor]) -> Path:
    file = kind(path, values)
    atomic_write(path, file.write, durability="process", filesystem=CheckedFileSystem(file.check))
    return path


def read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    return safetensors.torch.load_file(path)


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_every_tensor_comes_back_by_name(tmp_path: Path, kind, suffix: str) -> None:
    values = tensors()
    found = read(write(kind, tmp_path / f"a{suffix}", values))
    assert set(found) == set(values)
    compare(Path("a"), values, {name: found[name] for name in values})
    assert not any(value.requires_grad for value in found.values())


def test_a_state_dict_holds_what_safetensors_lacks_and_no_more_memory_than_its_own(tmp_path: Path) -> None:
    whole = torch.zeros(100_000)
    values = {"c": torch.tensor([1 + 2j]).conj(), "f": torch.ones(2).to(torch.float8_e4m3fnuz), "part": whole[:2]}
    path = write(StateDictFile, tmp_path / "a.pt", values)
    assert path.stat().st_size < 10_000
    found = read(path)
    assert type(found) is dict
    assert found["c"].tolist() == [1 - 2j]
    assert found["f"].dtype == torch.float8_e4m3fnuz


@pytest.mark.parametrize(
    ("value", "name", "reason"),
    [
        (torch.tensor([1j]), "w", "expected what safetensors has a place for, found the dtype complex64"),
        (
            torch.ones(2).to(torch.float8_e5m2fnuz),
            "w",
            "expected what safetensors has a place for, found the dtype float8_e5m2fnuz",
        ),
        (torch.ones(2), "__metadata__", "expected what safetensors has a place for, found a tensor of that name"),
    ],
)
def test_what_safetensors_lacks_is_refused(tmp_path: Path, value: torch.Tensor, name: str, reason: str) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ConversionError) as caught:
        write(SafetensorsFile, path, {name: value})
    assert str(caught.value) == (
        f"could not convert to '{path}': tensor '{name}': {reason}. Convert it to a .pt or .ckpt file."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_a_tensor_that_is_none_of_ours_is_refused(tmp_path: Path, kind, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ConversionError) as caught:
        write(kind, path, {"w": torch.eye(2).to_sparse()})
    assert str(caught.value) == (
        f"could not convert to '{path}': tensor 'w': expected a dense tensor, found layout torch.sparse_coo: "
        "convert it with to_dense()."
    )


def test_tied_tensors_are_those_of_one_view() -> None:
    whole = torch.ones(4)
    empty = torch.empty(0)
    values = {"b": whole, "a": whole, "c": whole[:2], "d": whole.clone(), "e": empty, "f": empty}
    assert ties(values) == {"b": "a"}


def test_a_tied_model_loads_from_safetensors(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    path = write(SafetensorsFile, tmp_path / "a.safetensors", model.state_dict())
    safetensors.torch.load_model(other, path)
    assert torch.equal(other.head.weight, model.head.weight)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "head.weight": "embedding.weight"}
        assert set(file.keys()) == {"embedding.weight", "count"}


def test_it_is_the_file_that_safetensors_would_write(tmp_path: Path) -> None:
    model = Tied()
    ours = write(SafetensorsFile, tmp_path / "a.safetensors", model.state_dict())
    safetensors.torch.save_model(model, str(tmp_path / "b.safetensors"), metadata={"format": "pt"})
    theirs = tmp_path / "b.safetensors"
    assert read(ours).keys() == read(theirs).keys()
    with safetensors.safe_open(ours, "pt") as one, safetensors.safe_open(theirs, "pt") as other:
        assert one.metadata() == other.metadata()


def test_a_tied_model_loads_from_a_state_dict(tmp_path: Path) -> None:
    model = Tied()
    found = read(write(StateDictFile, tmp_path / "a.pt", model.state_dict()))
    assert found["head.weight"].data_ptr() == found["embedding.weight"].data_ptr()
    Tied().load_state_dict(found, strict=True)


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_a_changed_draft_never_gets_its_name(tmp_path: Path, kind, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    values = {"v": torch.full((3,), 7.0), "w": torch.full((64,), 3.0)}
    file = kind(path, values)

    def broken(stream) -> None:
        file.write(stream)
        stream.flush()
        draft = next(tmp_path.iterdir())
        content = bytearray(draft.read_bytes())
        content[content.index(values["w"].numpy().tobytes())] ^= 1
        draft.write_bytes(content)

    with pytest.raises((ConversionError, RuntimeError)) as caught:
        atomic_write(path, broken, durability="process", filesystem=CheckedFileSystem(file.check))
    if isinstance(caught.value, ConversionError):
        assert str(caught.value) == (
            f"could not convert to '{path}': 'w' was not read back as it was written. Nothing is left under that name; "
            "check the disk, then convert again."
        )
    assert list(tmp_path.iterdir()) == []


def test_a_changed_header_never_gets_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    file = SafetensorsFile(path, {"w": torch.ones(2)})
    other = SafetensorsFile(path, {"x": torch.ones(2)})
    for check, write_it in ((other.check, file.write), (file.check, lambda s: (file.write(s), s.write(b"x")))):
        with pytest.raises(ConversionError) as caught:
            atomic_write(path, write_it, durability="process", filesystem=CheckedFileSystem(check))
        assert str(caught.value) == f"could not convert to '{path}': its header was not read back as written."
    assert list(tmp_path.iterdir()) == []


def test_a_draft_whose_ties_are_lost_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    shared = torch.ones(2)
    file = StateDictFile(path, {"a": shared, "b": shared})
    save = torch.save
    untied = {"a": shared, "b": shared.clone()}
    monkeypatch.setattr(weight_files.torch, "save", lambda values, stream: save(untied, stream))
    with pytest.raises(ConversionError) as caught:
        atomic_write(path, file.write, durability="process", filesystem=CheckedFileSystem(file.check))
    assert str(caught.value) == f"could not convert to '{path}': its tied tensors were read back untied."


def test_a_target_that_may_be_replaced_is_compared_too(tmp_path: Path) -> None:
    checked: list[Path] = []
    files = CheckedFileSystem(checked.append)
    atomic_write(tmp_path / "a", lambda stream: None, durability="process", overwrite=True, filesystem=files)
    atomic_write(tmp_path / "b", lambda stream: None, durability="process", filesystem=files)
    assert [path.suffix for path in checked] == [".draft", ".draft"]


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"a": [1, (2.0, None)]}, None),
        ({"a": [1, (2.5, None)]}, "a.1.0"),
        ({"a": [1, [2.0, None]]}, "a.1"),
        ({"a": [True, (2.0, None)]}, "a.0"),
        ({"a": [1, (2.0, None)], "b": 1}, ""),
        ({"a": [1]}, "a"),
        ([], ""),
    ],
)
def test_trees_are_compared(found: object, where: str | None) -> None:
    expected = {"a": [1, (2.0, None)]}
    if where is None:
        compare(Path("x"), expected, found)
        return
    with pytest.raises(ConversionError, match=f"could not convert to 'x': '{where}' was not read back"):
        compare(Path("x"), expected, found)


def test_tensors_are_compared_by_their_bits() -> None:
    nan = float("nan")
    compare(Path("x"), {"a": nan, "t": torch.tensor([nan])}, {"a": nan, "t": torch.tensor([nan])})
    for other in (torch.tensor([-0.0]), torch.zeros(1, 1), torch.zeros(1, dtype=torch.int32), 0.0):
        with pytest.raises(ConversionError, match="'t' was not read back"):
            compare(Path("x"), {"t": torch.zeros(1)}, {"t": other})
