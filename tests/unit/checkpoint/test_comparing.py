"""Two files are compared by what they hold; tensors of equal digests are not read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import write_archive
from milepost.archive.reader import Archive
from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.checkpoint.comparing import Comparison, Form, TensorDifference, compare_archives
from milepost.checkpoint.tensor_distance import Distance
from milepost.errors import DamagedArchiveError, NotAnArchiveError

RECORD = CheckpointRecord(
    "run", step=4, metrics={"loss": 0.5}, created="2026-01-01T00:00:00+00:00", environment={"torch": "2"}
)
STATE: dict[str, Any] = {
    "model": {"a.weight": torch.ones(2, 3), "b": torch.arange(3), "z": torch.ones(2, dtype=torch.complex64)},
    "loop": {"position": 3, "groups": [{"lr": 0.1, "moment": torch.zeros(1)}], "pair": (1, 2)},
}


def save(path: Path, state: Any = STATE, record: CheckpointRecord = RECORD, **keywords: Any) -> Path:
    keywords.setdefault("options_yaml", "seed: 1\narchitecture:\n  name: x\n")
    save_checkpoint(path, state, record=record, durability="process", overwrite=True, **keywords)
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return save(tmp_path / "a.ckpt", source={"m.py": b"x = 1\n"})


def keys(found: Comparison, section: str) -> list[str]:
    return [str(difference) for difference in found.sections[section]]


def test_a_copy_is_equal_and_no_tensor_is_read(a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = tmp_path / "b.ckpt"
    b.write_bytes(a.read_bytes())

    def never(*arguments: Any) -> Any:
        raise LookupError("a tensor was read")

    monkeypatch.setattr("milepost.archive.tensors.from_stored", never)
    found = compare_archives(a, b)
    assert found.equal
    assert found.equal_tensors == 4
    assert all(listed == () for listed in found.sections.values())


def test_plain_values_differ_by_key(a: Path, tmp_path: Path) -> None:
    record = replace(
        RECORD,
        step=8,
        metrics={"loss": 0.25, "other": 1.0},
        metadata={"name": "tuned"},
        environment={"torch": "3"},
        versions={"x": 2},
    )
    state = {**STATE, "loop": {"position": 4, "groups": [{"lr": 0.2, "moment": torch.zeros(1)}], "pair": (1, 3)}}
    options = "seed: 2\narchitecture:\n  name: x\n"
    b = save(tmp_path / "b.ckpt", state, record, options_yaml=options, source={"m.py": b"x = 2\n", "n.py": b""})
    found = compare_archives(a, b)
    assert not found.equal
    assert found.tensors == ()
    assert keys(found, "options") == ["seed: 1 → 2"]
    assert keys(found, "record") == ["step: 4 → 8", "metrics.loss: 0.5 → 0.25", "metrics.other: absent → 1.0"]
    assert keys(found, "metadata") == ["name: absent → 'tuned'"]
    assert keys(found, "environment") == ["torch: '2' → '3'"]
    assert keys(found, "versions") == ["x: absent → 2"]
    assert keys(found, "values") == [
        "loop.position: 3 → 4",
        "loop.groups.0.lr: 0.1 → 0.2",
        "loop.pair: [1, 2] → [1, 3]",
    ]
    assert [difference.key for difference in found.sections["files"]] == ["source/m.py", "source/n.py"]


def test_tensors_differ_in_presence_form_and_values(a: Path, tmp_path: Path) -> None:
    weight = torch.ones(2, 3)
    weight[0, 0], weight[1, 2] = 1.5, 0.5
    model = {
        "a.weight": weight,
        "b": torch.arange(3, dtype=torch.int32),
        "z": torch.tensor([1 + 0j, 1 + 1j], dtype=torch.complex64),
        "c": torch.zeros(()),
    }
    loop = {"position": 3, "groups": [{"lr": 0.1}], "pair": (1, 2)}
    found = compare_archives(a, save(tmp_path / "b.ckpt", {"model": model, "loop": loop}))
    assert found.equal_tensors == 0
    one = abs(1 + 1j)
    assert set(found.tensors) == {
        TensorDifference("model", "a.weight", *2 * [Form("F32", (2, 3))], Distance(2, 6, 0.5, 0.5)),
        TensorDifference("model", "b", Form("I64", (3,)), Form("I32", (3,))),
        TensorDifference("model", "z", *2 * [Form("complex64", (2,))], Distance(1, 2, 1.0, 1.0 / one)),
        TensorDifference("model", "c", None, Form("F32", ())),
        TensorDifference("loop", "groups.0.moment", Form("F32", (1,)), None),
    }
    assert keys(found, "values") == []
    assert str(Form("F32", (2, 3))) == "F32 [2, 3]"


def test_only_the_tensors_that_differ_are_read(a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = STATE["model"] | {"b": torch.arange(3) + 1}
    b = save(tmp_path / "b.ckpt", STATE | {"model": model})
    read: list[str] = []
    original = Archive.tensor_reader

    def noting(archive: Archive, component: str) -> Any:
        inner = original(archive, component)
        return lambda wanted: read.append(wanted.name) or inner(wanted)

    monkeypatch.setattr(Archive, "tensor_reader", noting)
    (difference,) = compare_archives(a, b).tensors
    assert difference.name == "b"
    assert read == ["b", "b"]


def test_components_that_one_file_lacks_are_not_compared(a: Path, tmp_path: Path) -> None:
    b = save(tmp_path / "b.ckpt", {"model": STATE["model"], "ema": {"w": torch.ones(2)}})
    found = compare_archives(a, b)
    assert (found.only_in_a, found.only_in_b) == (("loop",), ("ema",))
    assert found.tensors == ()
    assert not found.equal


def test_tied_tensors_are_compared_by_each_name(tmp_path: Path) -> None:
    shared = torch.ones(2)
    a = save(tmp_path / "a.ckpt", {"model": {"x": shared, "y": shared}})
    b = save(tmp_path / "b.ckpt", {"model": {"x": torch.ones(2), "y": torch.zeros(2)}})
    found = compare_archives(a, b)
    assert found.equal_tensors == 1
    assert [difference.name for difference in found.tensors] == ["y"]


def test_names_that_look_alike_are_kept_apart(tmp_path: Path) -> None:
    one, other = torch.ones(2), torch.zeros(2)
    a = save(tmp_path / "a.ckpt", {"model": {"x.y": one, "x": {"y": one}, "1": one, 1: one}})
    b = save(tmp_path / "b.ckpt", {"model": {"x.y": other, "x": {"y": one}, "1": other, 1: one}})
    found = compare_archives(a, b)
    assert found.equal_tensors == 2
    assert [difference.name for difference in found.tensors] == ["x.y", "1"]


def test_a_component_that_is_one_tensor(tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{n}.ckpt", {"x": torch.full((2,), n)}) for n in (1, 3))
    (difference,) = compare_archives(a, b).tensors
    assert difference == TensorDifference("x", "", *2 * [Form("I64", (2,))], Distance(2, 2, 2.0, 2 / 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["seed: 1 → absent", "architecture.name: 'x' → absent"]),
        ("- 1\n", ["seed: 1 → absent", "architecture.name: 'x' → absent", "options.yaml: absent → [1]"]),
        ("a: [", ["seed: 1 → absent", "architecture.name: 'x' → absent", "options.yaml: absent → 'a: ['"]),
    ],
)
def test_options_of_any_form_are_compared(a: Path, tmp_path: Path, text: str, expected: list[str]) -> None:
    assert keys(compare_archives(a, save(tmp_path / "b.ckpt", options_yaml=text, source={})), "options") == expected


def test_archives_of_another_kind(tmp_path: Path) -> None:
    for name, kind in (("a", "package"), ("b", "checkpoint")):
        write_archive(tmp_path / name, kind=kind, components={"x": [1]}, manifest={"metadata": "text"})
    found = compare_archives(tmp_path / "a", tmp_path / "b")
    assert keys(found, "versions") == ["kind: 'package' → 'checkpoint'"]


def test_other_files_are_refused(a: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.pt"
    other.write_bytes(b"hello")
    message = (
        f"could not open '{other}': expected a Milepost archive, found another format. "
        "Give the path of a file that Milepost wrote."
    )
    with pytest.raises(NotAnArchiveError) as caught:
        compare_archives(a, other)
    assert str(caught.value) == message


def test_damage_in_a_tensor_that_is_read_is_named(a: Path, tmp_path: Path) -> None:
    model = STATE["model"] | {"b": torch.arange(3) + 7}
    b = save(tmp_path / "b.ckpt", STATE | {"model": model})
    content = bytearray(b.read_bytes())
    content[content.index((torch.arange(3) + 7).numpy().tobytes())] ^= 1
    b.write_bytes(content)
    with pytest.raises(DamagedArchiveError, match=r"model.safetensors, tensor 'b': expected digest"):
        compare_archives(a, b)
