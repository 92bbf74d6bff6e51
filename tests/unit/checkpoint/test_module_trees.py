"""The description of a pickled module gives its state dict."""

from typing import Any

import torch

from milepost.checkpoint.module_trees import kept_as_bytes, module_state, plain_name

ONE, TWO, THREE = torch.ones(1), torch.ones(2), torch.ones(3)
BYTES = {"class": "builtins.bytes", "state": "00"}


def described(**sections: Any) -> dict[str, Any]:
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "training": True} | sections
    return {"class": "somebody.Net", "state": state}


def test_parameters_and_persistent_buffers_by_name() -> None:
    inner = described(_parameters={"w": ONE, "b": None}, _buffers={"kept": TWO, "gone": THREE})
    inner["state"]["_non_persistent_buffers_set"] = {"class": "builtins.set", "state": ["gone"]}
    tree = described(_parameters={"top": THREE}, _modules={"0": inner, "none": None})
    found = module_state(tree)
    assert found == {"top": THREE, "0.w": ONE, "0.kept": TWO}


def test_what_is_no_module() -> None:
    lacking = {"class": "x.Y", "state": {"_parameters": {}, "_buffers": {}}}
    for tree in (None, ONE, {"w": ONE}, [described()], {"class": "x.Y", "state": None}, lacking):
        assert module_state(tree) is None
        assert list(kept_as_bytes(tree)) == []
    assert module_state(described()) == {}


def test_parts_that_are_bytes_are_named() -> None:
    deep = described(code=[{"a": (BYTES,)}])
    tree = described(_modules={"a": described(_modules={"b": deep}), "c": described(name="x")})
    assert list(kept_as_bytes(tree)) == ["'a.b'"]
    assert list(kept_as_bytes(described(code=BYTES))) == ["the module itself"]


def test_places_become_names() -> None:
    assert plain_name("state._modules.0.state._parameters.w", "") == "0.w"
    assert plain_name("model.state._buffers.kept", "model.") == "kept"
    assert plain_name("model.state.attribute", "model.") == "state.attribute"
    assert plain_name("optimizer.state.0.moment", "model.") is None
