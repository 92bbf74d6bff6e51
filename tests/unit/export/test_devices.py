"""A device that is absent, unknown or not what a program was compiled for is refused by name."""

from pathlib import Path

import pytest
import torch

from milepost.errors import ExportError
from milepost.export.devices import device_of_package, usable_device

FILE = Path("model.pt2")


def test_the_processor_can_always_be_used() -> None:
    assert usable_device("cpu", FILE) == torch.device("cpu")
    assert device_of_package(FILE, "cpu", None) == device_of_package(FILE, "cpu", "cpu") == torch.device("cpu")


def test_a_device_that_torch_does_not_know() -> None:
    with pytest.raises(ExportError, match="expected a device that torch knows, as cpu or cuda, found 'gpu'"):
        usable_device("gpu", FILE)


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExportError, match="expected a CUDA device on this machine, found none"):
        usable_device("cuda:1", FILE)
    with pytest.raises(ExportError, match="expected a CUDA device on this machine, found none"):
        device_of_package(FILE, "cuda", None)


def test_a_program_for_another_device() -> None:
    with pytest.raises(ExportError, match=r"'cuda' that it was compiled for, found 'cpu'.* again with --device cpu"):
        device_of_package(FILE, "cuda", "cpu")
