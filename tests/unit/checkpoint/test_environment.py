"""The environment names versions and hardware, and nothing that identifies a person or a machine."""

import getpass
import importlib.metadata
import json
import platform
from pathlib import Path

import pytest
import torch

from milepost.checkpoint import environment
from milepost.checkpoint.environment import milepost_version, processor


def test_versions_and_device_are_named():
    found = environment("cpu", precision=32)
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert (found["device"], found["precision"]) == ("cpu", "32")
    assert found["threads"] == torch.get_num_threads()
    assert set(found) == {
        "python", "torch", "cuda", "numpy", "milepost", "platform", "device", "device_name", "instructions", "threads",
        "precision",
    }  # fmt: skip


def test_the_type_of_the_processor_is_as_the_system_tells_it(monkeypatch: pytest.MonkeyPatch):
    told = "processor : 0\nmodel name\t: A Processor (TM) 9\nprocessor : 1\nmodel name\t: A Processor (TM) 9\n"
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self, **how: told)
    assert processor.__wrapped__() == "A Processor (TM) 9"
    monkeypatch.setattr(Path, "read_text", lambda self, **how: "processor : 0\n")
    assert processor.__wrapped__() == (platform.processor() or platform.machine())
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert processor.__wrapped__() == (platform.processor() or platform.machine())


def test_no_host_user_or_path():
    text = json.dumps(environment())
    for private in (platform.node(), str(Path.home()), str(Path.cwd())):
        assert private not in text
    assert f'"{getpass.getuser()}"' not in text


def test_the_version_is_the_installed_one_or_the_source_trees(monkeypatch: pytest.MonkeyPatch):
    import milepost

    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 9")
    assert milepost_version.__wrapped__() == "milepost 9"

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert milepost_version.__wrapped__() == milepost.__version__
