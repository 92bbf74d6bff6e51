"""Values of a checkpoint come back as they were; what has no plain form is named with its place."""

import argparse
import collections
import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import omegaconf
import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict

from milepost.archive import Archive, write_archive
from milepost.errors import ArchiveError, UnsavableError
from milepost.lightning.plain import lowered, raised, where


class Color(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    RED = "red"


class Settings(dict[str, Any]):
    """A dict of somebody's own."""


def through_a_file(value: Any, folder: Path) -> Any:
    tree, notes = lowered(value, "part")
    written = [[list(place), form, detail] for place, (form, detail) in notes.items()]
    path = folder / "value.ckpt"
    write_archive(
        path, kind="checkpoint", components={"part": tree, "notes": written}, overwrite=True, durability="process"
    )
    with Archive.open(path) as archive:
        notes = {tuple(place): (form, detail) for place, form, detail in archive.tree("notes")}
        return raised(archive.tree("part"), notes, "part")


VALUES = [
    {"a": [1, 2.5, True, None, "text"], 3: ("b", (4,))},
    Path("data") / "set.xyz",
    torch.device("cuda:1"),
    torch.float64,
    torch.Size([2, 3]),
    {1, 2, 3},
    frozenset({"x"}),
    1 + 2j,
    b"\x00\xff",
    argparse.Namespace(rate=0.1, path=Path("x")),
    collections.OrderedDict(b=1, a=2),
    collections.Counter({30: 1, 80: 2}),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {"a": torch.float16}),
    {("tuple", 1): "key", None: 2},
    AttributeDict(lr=0.1, inner=AttributeDict(width=3)),
    [{"dtype": torch.bfloat16}, (torch.int8, {"deep": {torch.float32}})],
    omegaconf.DictConfig,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back(value: Any, tmp_path: Path) -> None:
    found = through_a_file(value, tmp_path)
    assert found == value
    assert type(found) is type(value)


def test_the_forms_inside_come_back_too(tmp_path: Path) -> None:
    found = through_a_file(AttributeDict(inner=AttributeDict(width=3)), tmp_path)
    assert found.inner.width == 3
    counted = through_a_file({"milestones": collections.Counter({30: 1})}, tmp_path)
    assert list(counted["milestones"].elements()) == [30]
    assert through_a_file(collections.defaultdict(list), tmp_path)["new"] == []


def test_tensors_and_arrays_come_back(tmp_path: Path) -> None:
    value = {"weight": torch.randn(2, 3), "array": np.arange(6).reshape(2, 3), "number": np.float32(0.5)}
    found = through_a_file(value, tmp_path)
    assert torch.equal(found["weight"], value["weight"])
    assert isinstance(found["array"], np.ndarray)
    np.testing.assert_array_equal(found["array"], value["array"])
    assert (found["number"], type(found["number"])) == (0.5, float)


def test_the_versions_of_a_modules_state_come_back(tmp_path: Path) -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    found = through_a_file(state, tmp_path)
    assert type(found) is collections.OrderedDict
    assert dict(found._metadata) == {"": {"version": 2}}
    assert list(found) == list(state)


def test_members_of_enums_come_back_as_values_and_other_dicts_as_dicts(tmp_path: Path) -> None:
    found = through_a_file({"color": Color.RED, "settings": Settings(a=Color.RED)}, tmp_path)
    assert found == {"color": "red", "settings": {"a": "red"}}
    assert type(found["color"]) is str
    assert type(found["settings"]) is dict


def test_omegaconf_keeps_its_interpolations(tmp_path: Path) -> None:
    config = omegaconf.OmegaConf.create({"width": 4, "double": "${width}", "items": [1, 2]})
    found = through_a_file({"hyper_parameters": config}, tmp_path)["hyper_parameters"]
    assert found == config
    assert isinstance(found, omegaconf.DictConfig)
    assert omegaconf.OmegaConf.to_container(found, resolve=False)["double"] == "${width}"


def test_sets_are_written_in_one_order() -> None:
    assert lowered({"c", "a", "b"}, "part")[0] == lowered({"b", "c", "a"}, "part")[0] == ["a", "b", "c"]


UNSAVABLE = [
    (("hyper_parameters", "net"), torch.nn.Linear(1, 1), r"ignore=\['net'\]"),
    (("hyper_parameters", "loss"), torch.nn.functional.mse_loss, r"found an object of builtins\.function"),
    (("hyper_parameters", "layer"), torch.nn.Linear, r"found the class Linear"),
    (("callbacks", "Timer{'interval': 1}", "clock"), object(), r"state_dict\(\) of the callback Timer\."),
    (("state_dict", "x._extra_state"), object(), r"get_extra_state\(\)"),
    (("optimizer_states", 0, "state"), object(), r"state_dict\(\)"),
    (("mine",), object(), r"on_save_checkpoint\(\)"),
    (("mine",), torch.eye(2).to_sparse(), r"expected a dense tensor"),
    (("mine",), collections.defaultdict(lambda: 0), r"expected a defaultdict of list"),
    (("mine",), np.array(["a"]), r"can't convert np.ndarray"),
    (("mine",), collections.OrderedDict({(1, 2): 3}), r"expected keys that are text or integers"),
]


@pytest.mark.parametrize(("place", "value", "said"), UNSAVABLE)
def test_what_has_no_plain_form_is_named_with_its_place(place: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(UnsavableError, match=said) as caught:
        lowered({"inside": value}, *place)
    assert f"could not save {where((*place, 'inside'))}: " in str(caught.value)


def test_endless_nesting_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(UnsavableError, match="levels of nesting, found more"):
        lowered(endless, "mine")


def test_a_place_is_written_as_in_python() -> None:
    assert where(("callbacks", "a.b", 0)) == "checkpoint['callbacks']['a.b'][0]"


@pytest.mark.parametrize(
    ("note", "value", "said"),
    [
        (("module.Class", None), {}, "expected one of AttributeDict, .*found 'module.Class'"),
        (("torch.dtype", None), "load", "expected the name of a dtype, found 'load'"),
        (("collections.defaultdict", "eval"), {}, "eval"),
        (("class", "os.system"), "os.system", "os.system"),
        (("bytes", None), "no hexadecimal", "hexadecimal"),
    ],
)
def test_a_note_of_another_hand_is_refused(note: tuple[str, Any], value: Any, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        raised(value, {("part",): note}, "part")


def test_notes_are_json() -> None:
    _, notes = lowered({"a": torch.float32, "b": collections.defaultdict(int)}, "part")
    assert json.loads(json.dumps(list(notes.values()))) == [["torch.dtype", None], ["collections.defaultdict", "int"]]
