"""Compiling ahead of time: refusals that name another format, and a process that is left as it was."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor.exc import CppCompileError

from milepost.errors import ExportError
from milepost.export import compiling
from milepost.export.compiling import compile_package, load_package


def test_without_a_compiler_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "compiler_present", lambda: False)
    with pytest.raises(ExportError, match=r"'model\.pt2': expected a C\+\+ compiler .* or export an \.x file, which"):
        compile_package(tmp_path / "model.pt2", lambda: pytest.fail("exported"), instead="an .x file")


def test_a_compiler_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def stop(program: object, *, package_path: str, inductor_configs: dict[str, Any]) -> None:
        given.update(inductor_configs, program=program, collecting=gc.isenabled())
        raise CppCompileError(["g++"], "error: no space left")

    monkeypatch.setattr(compiling, "compiler_present", lambda: True)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", stop)
    with pytest.raises(ExportError, match=r"(?s)the C\+\+ compiler stopped:.*no space left.*or export an \.x"):
        compile_package(tmp_path / "model.pt2", lambda: "graph", instead="an .x file", metadata={"a": "b"})
    assert given["program"] == "graph"
    assert given["aot_inductor.metadata"] == {"a": "b"}
    assert not given["collecting"]
    assert gc.isenabled()


def test_a_file_that_torch_cannot_load_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK")
    with pytest.raises(ExportError, match=r"could not run .* can't load it.*Export the checkpoint again"):
        load_package(path)
