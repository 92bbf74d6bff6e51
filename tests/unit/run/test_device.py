"""The device that a run computes on is the one named, or an error."""

import pytest
import torch

from milepost.errors import DeviceError
from milepost.run.device import choose_device, device_objections


def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)


def test_auto_takes_the_processor_where_there_is_nothing_else(monkeypatch):
    no_gpu(monkeypatch)
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_the_first_gpu_is_named_by_its_number(monkeypatch, name):
    two_gpus(monkeypatch)
    assert choose_device(name) == torch.device("cuda", 0)


def test_a_gpu_is_found_by_number(monkeypatch):
    two_gpus(monkeypatch)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_an_error(monkeypatch):
    no_gpu(monkeypatch)
    with pytest.raises(DeviceError) as raised:
        choose_device("cuda")
    assert str(raised.value) == (
        "could not train on the device 'cuda': expected one on this machine, found none of that kind. "
        "Set `device: auto` (or -r device=auto) to take what there is."
    )


def test_a_number_that_is_too_high_is_an_error(monkeypatch):
    two_gpus(monkeypatch)
    with pytest.raises(DeviceError, match="'cuda:2': expected one on this machine, found 2 of that kind"):
        choose_device("cuda:2")
    with pytest.raises(DeviceError, match="'mps': expected one on this machine, found none of that kind"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["cuda:300", "cuda:99999999999"])
def test_a_number_that_torch_can_not_hold_is_an_error_like_another(monkeypatch, name):
    two_gpus(monkeypatch)
    with pytest.raises(DeviceError, match=f"'{name}': expected one on this machine, found 2 of that kind"):
        choose_device(name)


def test_what_is_not_there_is_said_before_anything_is_computed(monkeypatch):
    no_gpu(monkeypatch)
    assert list(device_objections("auto")) == list(device_objections("cpu")) == []
    (found,) = device_objections("mps")
    assert (found.key, found.text) == ("device", "expected 'auto' or a device of this machine (cpu), found 'mps'")
    two_gpus(monkeypatch)
    assert list(device_objections("cuda")) == list(device_objections("cuda:1")) == []
    (found,) = device_objections("cuda:2")
    assert found.text == (
        "expected 'auto' or a device of this machine (cpu, cuda:0, cuda:1), found 'cuda:2'; did you mean 'cuda:1'?"
    )
