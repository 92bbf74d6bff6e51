"""Names of parameters are compared by whole components, whatever wrappers or programs put around them."""

import pytest
import torch
from torch import Tensor, nn

from milepost.checkpoint.parameter_names import fit, plain_name


def tensors(*names: str, rows: int = 2) -> dict[str, Tensor]:
    """Make tensors of these names, each with values of its own."""
    return {name: torch.full((rows,), float(number)) for number, name in enumerate(names)}


def test_the_same_names_fit() -> None:
    own = tensors("fc1.weight", "fc1.bias")
    found = fit(own, own)
    assert found.names == {"fc1.weight": "fc1.weight", "fc1.bias": "fc1.bias"}
    assert found.report() == ("loaded: 2 of 2 tensors",)


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ("fc1.weight", "module.fc1.weight"),
        ("module.fc1.weight", "fc1.weight"),
        ("fc1.weight", "module.module.fc1.weight"),
        ("fc1.weight", "_orig_mod.module.fc1.weight"),
        ("fc1.weight", "net.fc1.weight"),
        ("fc1.weight", "net.module.fc1.weight"),
        ("fc1.weight", "module.net.fc1.weight"),
        ("module.fc1.weight", "net.fc1.weight"),
        ("layer1.0.conv1.weight", "net.module.layer1.0.conv1.weight"),
    ],
)
def test_wrappers_on_either_side_do_not_matter(own: str, given: str) -> None:
    assert fit(tensors(own), tensors(given)).names == {own: given}


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ("submodule.weight", "weight"),
        ("weight", "submodule.weight.more"),
        ("mymodule.fc.weight", "my.fc.weight"),
        ("fc.weight", "module_fc.weight"),
        ("internet.fc.weight", "inter.fc.weight"),
        ("subnet.fc.weight", "sub.fc.weight"),
    ],
)
def test_no_name_is_cut_in_the_middle(own: str, given: str) -> None:
    assert fit(tensors(own), tensors(given)).names == {}


def test_a_part_of_the_model_that_is_named_module_stays_one() -> None:
    own = tensors("module.weight", "other.module.weight", "other.weight")
    found = fit(own, dict(own))
    assert found.names == {name: name for name in own}
    wrapped = {f"module.{name}": value for name, value in own.items()}
    # 'other.weight' and 'other.module.weight' are told apart by nothing but a wrapper's name: neither is guessed.
    assert fit(own, wrapped).names == {"module.weight": "module.module.weight"}
    assert len(fit(own, wrapped).missing) == 2


def test_names_of_real_wrappers_fit() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 1)))
    wrapped = nn.DataParallel(model)
    found = fit(model.state_dict(), wrapped.state_dict())
    assert found.missing == found.unexpected == ()
    back = fit(wrapped.state_dict(), model.state_dict())
    assert back.missing == back.unexpected == ()
    assert list(back.tensors) == list(wrapped.state_dict())


def test_the_part_of_the_file_that_fits_best_is_taken() -> None:
    given = tensors("net.fc1.weight", "old_net.fc1.weight", "classes_so_far")
    found = fit(tensors("fc1.weight"), given)
    assert found.names == {"fc1.weight": "net.fc1.weight"}
    assert found.unexpected == ("'old_net.fc1.weight', float32 (2,)", "'classes_so_far', float32 (2,)")


def test_a_second_name_of_a_loaded_tensor_is_not_unused() -> None:
    given = tensors("fc1.weight", "more.weight")
    given["_features.0.weight"] = given["fc1.weight"]
    found = fit(tensors("fc1.weight"), given)
    assert found.unexpected == ("'more.weight', float32 (2,)",)


def test_all_that_does_not_fit_is_said() -> None:
    own = {"a": torch.zeros(2, 3), "b": torch.zeros(2), "c": torch.zeros(1), "d": torch.zeros(2, dtype=torch.int64)}
    given = {
        "a": torch.ones(5, 3),
        "b": torch.ones(2, dtype=torch.float64),
        "d": torch.ones(2),
        "e": torch.ones(4, dtype=torch.uint8),
    }
    found = fit(own, given)
    assert list(found.tensors) == ["b"]
    assert found.report() == (
        "loaded: 1 of 4 tensors",
        "loaded in another precision: 'b': expected float32 (2,), found float64 (2,)",
        "not loaded, of another shape: 'a': expected float32 (2, 3), found float32 (5, 3)",
        "not loaded, of another shape: 'd': expected int64 (2,), found float32 (2,)",
        "not loaded, the file has none: 'c'",
        "not used, the model has no place for it: 'e', uint8 (4,)",
    )


def test_nothing_that_fits() -> None:
    found = fit(tensors("a.b"), tensors("c.d"))
    assert (found.names, found.missing) == ({}, ("a.b",))
    assert fit(tensors("a"), {}).missing == ("a",)


def test_plain_names() -> None:
    assert plain_name("module.a._orig_mod.b.module") == "a.b"
    assert plain_name("modules.amodule") == "modules.amodule"
