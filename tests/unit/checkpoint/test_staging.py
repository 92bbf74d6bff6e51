"""Staged copies are exact, made when they may be, in memory that is used again."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import Archive, ArchivePlan, plan_archive, tensors, write_archive, write_plan
from milepost.checkpoint import staging
from milepost.checkpoint.staging import Copies, StagingBuffers

DTYPES = [*tensors._STORED, *tensors._PAIRS, *tensors._BYTES]


def plan(tree: Any) -> ArchivePlan:
    return plan_archive(kind="test", components={"c": tree}, files={}, manifest={})


def staged(plan: ArchivePlan) -> dict[str, torch.Tensor]:
    """Give the tensors of a plan by name."""
    return {name: tensor for (_, name), tensor in plan.tensors()}


def random(dtype: torch.dtype, count: int) -> torch.Tensor:
    """Draw every pattern of bits that the dtype has, not-a-numbers included."""
    generator = torch.Generator().manual_seed(1)
    high = 2 if dtype is torch.bool else 256
    raw = torch.randint(0, high, (count * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype)


def unusual_views() -> dict[str, torch.Tensor]:
    whole = torch.arange(24, dtype=torch.float32)
    values = torch.view_as_complex(torch.arange(12, dtype=torch.float64).reshape(6, 2))
    return {
        "whole": whole,
        "tied": whole,
        "tied view": whole.view(24),
        "other shape": whole.view(4, 6),
        "transposed": whole.view(4, 6).t(),
        "every third": whole[::3],
        "overlapping": whole[2:10],
        "expanded": whole[:1].expand(3, 5),
        "windows": whole.unfold(0, 4, 1),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "half": torch.arange(5).to(torch.bfloat16),
        "complex": values,
        "conjugate": values.conj(),
        "negative": values.conj().imag,
        "flags": torch.tensor([True, False, True]),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }


@pytest.mark.parametrize("which", ["none", "all", "some"])
def test_the_file_is_that_of_the_state_itself(tmp_path: Path, which: str):
    tree = {"tensors": unusual_views(), "again": list(unusual_views().values()), 3: (1.5, None, "é")}
    values = list(tree["tensors"].values())
    steady = {"none": [], "all": [*values, *tree["again"]], "some": values[-4:]}[which]
    write_archive(tmp_path / "direct", kind="test", components={"c": tree})
    buffers = StagingBuffers()
    copy, copies = buffers.stage(plan(tree), steady)
    copies.run()
    write_plan(tmp_path / "staged", copy)
    assert (tmp_path / "staged").read_bytes() == (tmp_path / "direct").read_bytes()
    with Archive.open(tmp_path / "staged") as archive:
        back = archive.tree("c")["tensors"]
    assert back["whole"].data_ptr() == back["tied"].data_ptr() == back["tied view"].data_ptr()


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("later", [False, True], ids=["now", "later"])
def test_every_bit_of_every_dtype_is_copied(dtype: torch.dtype, later: bool):
    tree = {"x": random(dtype, 60), "y": random(dtype, 60).reshape(6, 10)[:, 1::2]}
    copy, copies = StagingBuffers().stage(plan(tree), tree.values() if later else ())
    copies.run()
    for name, tensor in staged(copy).items():
        assert bytes(tensors.data_of(tensor)) == bytes(tensors.data_of(tree[name]))
        assert tensor.data_ptr() != tree[name].data_ptr()


def test_what_is_not_steady_is_copied_at_once_and_the_rest_when_the_copies_run():
    weight, extra = torch.zeros(3), torch.zeros(3)
    tree = {"weight": weight, "part of the weight": weight[1:], "extra": extra}
    copy, copies = StagingBuffers().stage(plan(tree), [weight])
    weight += 1
    extra += 1
    copies.run()
    weight += 1
    assert {name: tensor.tolist() for name, tensor in staged(copy).items()} == {
        "weight": [1, 1, 1],
        "part of the weight": [1, 1],
        "extra": [0, 0, 0],
    }


@pytest.mark.parametrize("awaited", [False, True])
def test_long_tensors_are_copied_in_pieces(monkeypatch: pytest.MonkeyPatch, awaited: bool):
    monkeypatch.setattr(staging, "_PIECE_BYTES", 64)
    source = torch.arange(1001, dtype=torch.int16)
    target = torch.zeros_like(source)
    copies = Copies()
    copies.add(("c", "x"), target, source)
    assert len(staging._pieces(target, source)) == 32
    if awaited:
        copies._awaited.set()
    copies.run()
    assert torch.equal(target, source)


def test_joining_waits_for_the_copies():
    weight = torch.zeros(3)
    copy, copies = StagingBuffers().stage(plan({"weight": weight}), [weight])
    events: list[str] = []

    def step() -> None:
        copies.join()
        events.append("changed")
        weight.fill_(1)

    stepping = threading.Thread(target=step)
    stepping.start()
    stepping.join(0.05)
    assert events == []
    copies.run()
    stepping.join()
    assert events == ["changed"]
    assert staged(copy)["weight"].tolist() == [0, 0, 0]


def test_joining_does_not_wait_where_everything_is_copied():
    _, copies = StagingBuffers().stage(plan({"x": torch.zeros(3)}), ())
    copies.join()


def test_a_copy_that_fails_ends_the_waiting_and_comes_out(monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: object) -> None:
        raise MemoryError("full")

    weight = torch.zeros(3)
    _, copies = StagingBuffers().stage(plan({"weight": weight}), [weight])
    monkeypatch.setattr(staging.np, "copyto", fail)
    with pytest.raises(MemoryError, match="full"):
        copies.run()
    copies.join()
    with pytest.raises(MemoryError, match="full"):
        copies.wait_for(("c.safetensors", "weight"))


def test_a_tensor_can_be_waited_for_by_itself(monkeypatch: pytest.MonkeyPatch):
    first, second = torch.zeros(3), torch.zeros(3)
    _, copies = StagingBuffers().stage(plan({"first": first, "now": torch.zeros(3), "second": second}), [first, second])
    gate, copied = threading.Event(), list[int]()
    copy = Copies._copy

    def gated(self: Copies, target: torch.Tensor, source: torch.Tensor) -> None:
        if copied:
            gate.wait(30)
        copy(self, target, source)
        copied.append(1)

    monkeypatch.setattr(Copies, "_copy", gated)
    copying = threading.Thread(target=copies.run)
    copying.start()
    copies.wait_for(("c.safetensors", "now"))
    copies.wait_for(("c.safetensors", "first"))
    assert len(copied) == 1
    gate.set()
    copies.wait_for(("c.safetensors", "second"))
    copying.join()
    assert len(copied) == 2


def test_memory_is_used_again_while_the_forms_stay():
    buffers = StagingBuffers()
    first, _ = buffers.stage(plan({"a": torch.zeros(3), "b": torch.zeros(2), "c": torch.zeros(1)}), ())
    places = {name: tensor.data_ptr() for name, tensor in staged(first).items()}
    second, _ = buffers.stage(plan({"a": torch.ones(3), "b": torch.zeros(2, dtype=torch.int64)}), ())
    kept = staged(second)
    assert kept["a"].data_ptr() == places["a"]
    assert kept["a"].tolist() == [1, 1, 1]
    assert kept["b"].dtype is torch.int64
    assert sorted(name for _, name in buffers._buffers) == ["a", "b"]


def test_memory_that_no_longer_fits_is_freed_before_more_is_taken(monkeypatch: pytest.MonkeyPatch):
    buffers = StagingBuffers()
    buffers.stage(plan({"old": torch.zeros(3)}), ())
    held: list[list[tuple[str, str]]] = []
    allocate = torch.empty

    def empty(*arguments: Any, **options: Any) -> torch.Tensor:
        held.append(list(buffers._buffers))
        return allocate(*arguments, **options)

    monkeypatch.setattr(staging.torch, "empty", empty)
    buffers.stage(plan({"new": torch.zeros(3)}), ())
    assert held == [[]]
    buffers.clear()
    assert buffers._buffers == {}


def test_buffers_are_in_host_memory_whatever_the_default_device():
    tensor = torch.zeros(3)
    with torch.device("meta"):
        copy, _ = StagingBuffers().stage(plan({"x": tensor}), ())
    assert staged(copy)["x"].device.type == "cpu"


@pytest.mark.gpu
def test_cuda_copies_are_ordered_before_what_is_enqueued_after_joining():
    generator = torch.Generator(device="cuda").manual_seed(1)
    weight = torch.rand(2**22, device="cuda", generator=generator)
    tree = {"weight": weight, "columns": weight.view(2048, 2048).t(), "extra": torch.rand(2**22, device="cuda")}
    expected = {name: tensor.cpu() for name, tensor in tree.items()}
    buffers = StagingBuffers()
    for _ in range(3):
        copy, copies = buffers.stage(plan(tree), [weight])
        tree["extra"].add_(1)
        copies.join()
        weight.add_(1)
        copies.run()
        copies.settle()
        for name, tensor in staged(copy).items():
            assert tensor.is_pinned()
            assert torch.equal(tensor, expected[name]), name
        expected = {name: tensor.cpu() for name, tensor in tree.items()}


@pytest.mark.gpu
def test_cuda_tensors_that_nobody_holds_any_more_are_copied_whole():
    buffers = StagingBuffers()
    for value in range(5):
        weight = torch.full((2**22,), value, device="cuda")
        copy, copies = buffers.stage(plan({"weight": weight}), [weight])
        del weight
        torch.full((2**22,), -1, device="cuda")
        copies.run()
        copies.settle()
        assert bool((staged(copy)["weight"] == value).all())
