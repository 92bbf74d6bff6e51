"""The weights of a file are found by what kind of file it is; averages come first; what is left out is named."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.checkpoint.foreign.unread import Unread
from milepost.checkpoint.selection import Choice, Weights, foreign_weights, own_weights
from milepost.errors import ConversionError

ONE, TWO = torch.ones(2), torch.full((2,), 2.0)


@dataclass
class Foreign:
    """A file of another program, as its reader gives it."""

    kind: str
    values: dict[str, torch.Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    missed: tuple[Unread, ...] = ()
    unnamed: tuple[str, ...] = ()

    def unread(self, taken: Collection[str] = ()) -> list[Unread]:
        return [each for each in self.missed if each.place not in taken]

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.values


def chosen(path: Path, state: dict[str, Any], choice: Choice | None = None) -> Weights:
    save_checkpoint(path / "a.ckpt", state, durability="process", overwrite=True)
    with load_checkpoint(path / "a.ckpt") as checkpoint:
        return own_weights(checkpoint, choice)


def foreign(kind: str, *names: str, choice: Choice | None = None, **keywords: Any) -> Weights:
    found = Foreign(kind, {name: torch.full((1,), i) for i, name in enumerate(names)}, **keywords)
    return foreign_weights(cast(Any, found), "a.pt", choice)


@pytest.mark.parametrize(
    ("choice", "expected"), [(None, "component 'ema'"), ("average", "component 'ema'"), ("raw", "component 'model'")]
)
def test_the_average_comes_first(tmp_path: Path, choice: Choice | None, expected: str) -> None:
    found = chosen(tmp_path, {"model": {"w": ONE}, "ema": {"w": TWO}, "optimizer": {"m": ONE}}, choice)
    assert found.origin == expected
    assert found.tensors["w"].tolist() == (ONE if choice == "raw" else TWO).tolist()


def test_names_are_paths_and_other_values_are_named(tmp_path: Path) -> None:
    model = {"a": {"w": ONE, "extra": 3}, "blocks": [{"w": TWO}], 7: ONE}
    found = chosen(tmp_path, {"model": model})
    assert list(found.tensors) == ["a.w", "blocks.0.w", "7"]
    assert found.left_out == ("'a.extra', which is no tensor",)


def test_ties_are_kept(tmp_path: Path) -> None:
    found = chosen(tmp_path, {"model": {"a": ONE, "b": ONE}})
    assert found.tensors["a"] is found.tensors["b"]


def test_a_single_component_with_tensors_needs_no_usual_name(tmp_path: Path) -> None:
    assert chosen(tmp_path, {"net": {"w": ONE}, "step": 3}).origin == "component 'net'"
    assert chosen(tmp_path, {"net": ONE}, "raw").tensors.keys() == {"weights"}


@pytest.mark.parametrize(
    ("state", "choice", "message"),
    [
        (
            {"model": {"w": ONE}},
            "average",
            "could not take the averaged weights of '{path}': expected one of the components ema, found model. "
            "Take its raw weights.",
        ),
        (
            {"g": {"w": ONE}, "d": {"w": ONE}},
            None,
            "could not take the weights of '{path}': expected one of the components ema, model, state_dict, "
            "found d, g. Give a checkpoint that holds a model.",
        ),
        (
            {"ema": {"w": ONE}, "d": {"w": ONE}},
            "raw",
            "could not take the raw weights of '{path}': expected one of the components model, state_dict, "
            "found d, ema. Give a checkpoint that holds a model.",
        ),
        (
            {"model": {"x": 1}},
            None,
            "could not take the weights of '{path}': expected tensors in the component 'model', found none. "
            "Give a checkpoint that holds a model.",
        ),
        (
            {"model": {"a.b": ONE, "a": {"b": ONE}}},
            None,
            "could not take the weights of '{path}': two tensors of the component 'model' have the name 'a.b'. "
            "Convert it to a .ckpt file, which keeps its structure.",
        ),
    ],
)
def test_weights_that_are_not_there(tmp_path: Path, state: Any, choice: Choice | None, message: str) -> None:
    with pytest.raises(ConversionError) as caught:
        chosen(tmp_path, state, choice)
    assert str(caught.value) == message.format(path=tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("kind", "names", "choice", "expected", "origin"),
    [
        ("torch state dict", ["model.w", "b"], None, ["model.w", "b"], "all of a torch state dict"),
        ("safetensors file", ["w"], "raw", ["w"], "all of a safetensors file"),
        (
            "lightning checkpoint",
            ["state_dict.net.w", "optimizer_states.0.state.0.exp_avg"],
            None,
            ["net.w"],
            "'state_dict' of a lightning checkpoint",
        ),
        (
            "lightning checkpoint",
            ["state_dict.w", "current_model_state.w"],
            "raw",
            ["w"],
            "'current_model_state' of a lightning checkpoint",
        ),
        (
            "lightning checkpoint",
            ["state_dict.w", "current_model_state.w"],
            "average",
            ["w"],
            "'state_dict' of a lightning checkpoint",
        ),
        ("mammoth checkpoint", ["model.net.w", "buffer.examples"], None, ["net.w"], "'model' of a mammoth checkpoint"),
        (
            "metatrain checkpoint",
            ["model_state_dict.w", "best_model_state_dict.w", "optimizer_state_dict.m"],
            None,
            ["w"],
            "'best_model_state_dict' of a metatrain checkpoint",
        ),
        (
            "metatrain checkpoint",
            ["model_state_dict.w", "best_model_state_dict.w"],
            "raw",
            ["w"],
            "'model_state_dict' of a metatrain checkpoint",
        ),
        ("metatrain checkpoint", ["model_state_dict.w"], None, ["w"], "'model_state_dict' of a metatrain checkpoint"),
        ("torch file", ["model.w", "optimizer.m"], None, ["w"], "'model' of a torch file"),
        ("torch file", ["nets.w", "optimizer.m"], None, ["nets.w", "optimizer.m"], "all of a torch file"),
        ("distributed checkpoint", ["model.w"], None, ["model.w"], "all of a distributed checkpoint"),
    ],
)
def test_each_kind_of_file(
    kind: str, names: list[str], choice: Choice | None, expected: list[str], origin: str
) -> None:
    found = foreign(kind, *names, choice=choice)
    assert list(found.tensors) == expected
    assert found.origin == origin
    prefix = f"{origin.split(chr(39))[1]}." if origin.startswith("'") else ""
    assert list(found.others) == [name for name in names if not name.startswith(prefix)]
    assert found.left_out == ()
    assert [int(value) for value in found.tensors.values()] == [names.index(prefix + name) for name in expected]


def test_what_is_no_tensor_is_named_where_it_lies() -> None:
    missed = (
        Unread("state_dict.n", "a number"),
        Unread("state_dict.b", "bytes"),
        Unread("state_dict.s", "strings", "save it as a tensor"),
        *(Unread(f"loops.{number}", "a number") for number in range(22)),
        Unread("optimizer.q", "a quantized tensor", "dequantize it", special=True),
    )
    names = ("state_dict.w", "optimizer.q.state.arguments.0", "optimizer.q2")
    found = foreign("lightning checkpoint", *names, missed=missed, unnamed=("x~2",))
    assert found.left_out == (
        "'state_dict.s', strings: save it as a tensor",
        "'state_dict.n', a number; 'state_dict.b', bytes",
        "the name of 'x~2', which is empty or another tensor's",
    )
    assert found.elsewhere == ("'optimizer.q', a quantized tensor: dequantize it",)
    listed = "; ".join(f"'loops.{number}', a number" for number in range(20))
    assert found.values == (f"{listed}, and 2 more",)
    assert list(found.others) == ["optimizer.q2"]


def test_weights_that_are_special_tensors_are_refused() -> None:
    special = [Unread(f"w{number}", "a sparse tensor", "make it dense", special=True) for number in range(7)]
    with pytest.raises(ConversionError) as caught:
        foreign("torch file", "a", "w0.state.arguments.0", missed=tuple(special))
    listed = ", ".join(f"'w{number}', a sparse tensor" for number in range(5))
    assert str(caught.value) == (
        f"could not take the weights of 'a.pt': expected tensors that are stored as they are, found {listed}, "
        "and 2 more. Save the file again: make it dense."
    )
    with pytest.raises(ConversionError, match=r"found 'w0', a sparse tensor\. Save the file again"):
        foreign("torch file", missed=tuple(special[:1]))


def test_a_name_that_is_empty_is_replaced_and_said(tmp_path: Path) -> None:
    found = chosen(tmp_path, {"model": {"": ONE, "b": TWO}})
    assert list(found.tensors) == ["weights", "b"]
    assert found.left_out == ("the name of 'weights', which is empty",)


def test_names_that_safetensors_dropped_are_restored() -> None:
    metadata = {"format": "pt", "head.w": "body.w", "author": "nobody"}
    found = foreign("safetensors file", "body.w", metadata=metadata)
    assert list(found.tensors) == ["body.w", "head.w"]
    assert found.tensors["head.w"] is found.tensors["body.w"]


@pytest.mark.parametrize("kind", ["torch state dict", "lightning checkpoint"])
def test_a_file_without_averaged_weights(kind: str) -> None:
    with pytest.raises(ConversionError) as caught:
        foreign(kind, "state_dict.w", choice="average")
    assert str(caught.value) == (
        f"could not take the averaged weights of 'a.pt': expected a place for them, found none in this {kind}. "
        "Take its raw weights."
    )


def test_a_file_without_tensors() -> None:
    with pytest.raises(ConversionError) as caught:
        foreign("torch file")
    assert str(caught.value) == (
        "could not take the weights of 'a.pt': expected tensors in this torch file, found none. "
        "Give a file that holds a model."
    )
