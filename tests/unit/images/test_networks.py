"""The networks that come with the domain: shapes, beginnings, and the numbers of parameters of the papers."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from milepost.errors import MissingDependencyError, OptionsError
from milepost.images.mlp.model import MLP
from milepost.images.mlp.model import build as build_mlp
from milepost.images.mlp.options import MLPModelOptions
from milepost.images.resnet18.model import build as build_resnet18
from milepost.images.resnet18.options import ResNet18ModelOptions
from milepost.images.timm.model import build as build_timm
from milepost.images.timm.options import TimmModelOptions
from milepost.model import Architecture, find_architecture


@pytest.mark.parametrize("name", ["mlp", "resnet18", "timm"])
def test_an_architecture_is_found_by_its_name(name: str) -> None:
    found = find_architecture(name)
    assert isinstance(found, Architecture)
    assert (found.name, found.version) == (name, 1)
    assert found.domain.load().name == "images"
    assert callable(found.build.load())


def test_the_mlp_is_that_of_the_papers() -> None:
    model = build_mlp(MLPModelOptions(), shape=(1, 28, 28), classes=10)
    assert [(n, tuple(p.shape)) for n, p in model.named_parameters()] == [
        ("fc1.weight", (100, 784)), ("fc1.bias", (100,)), ("fc2.weight", (100, 100)), ("fc2.bias", (100,)),
        ("classifier.weight", (10, 100)), ("classifier.bias", (10,)),
    ]  # fmt: skip


def test_the_mlp_begins_as_xavier_says() -> None:
    model = build_mlp(MLPModelOptions(), shape=(1, 28, 28), classes=10)
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.97 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_the_mlp_computes_what_it_says() -> None:
    model, inputs = MLP(12, (7, 5), 3), torch.randn(4, 3, 2, 2)
    first = torch.relu(inputs.flatten(1) @ model.get_parameter("fc1.weight").T)
    features = torch.relu(first @ model.get_parameter("fc2.weight").T)
    torch.testing.assert_close(model.features(inputs), features)
    torch.testing.assert_close(model(inputs), features @ model.get_parameter("classifier.weight").T)


def test_an_mlp_without_hidden_layers_is_a_linear_classifier() -> None:
    model, inputs = MLP(12, (), 3), torch.randn(4, 3, 2, 2)
    assert torch.equal(model.features(inputs), inputs.flatten(1))
    assert model(inputs).shape == (4, 3)


def test_the_residual_network_is_that_of_the_papers() -> None:
    model = build_resnet18(ResNet18ModelOptions(), shape=(3, 32, 32), classes=10)
    # Convolutions 11,159,232, batch norms 2 · 4,800, the head 5,130.
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert len([m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]) == 17


@pytest.mark.parametrize(("channels", "rows"), [(1, 8), (3, 32), (1, 28)])
def test_the_residual_network_takes_images_of_any_size(channels: int, rows: int) -> None:
    model = build_resnet18(ResNet18ModelOptions(filters=4), shape=(channels, rows, rows), classes=5).eval()
    inputs = torch.randn(2, channels, rows, rows)
    assert model.features(inputs).shape == (2, 32)
    assert torch.equal(model(inputs), model.classifier(model.features(inputs)))


def test_a_network_of_timm_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'milepost\[timm\]'"):
        build_timm(TimmModelOptions(), shape=(3, 32, 32), classes=10)


def test_a_torchvision_of_another_torch_counts_as_a_missing_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timm.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(MissingDependencyError, match="operator torchvision::nms does not exist"):
        build_timm(TimmModelOptions(), shape=(3, 32, 32), classes=10)


class Timm:
    """Stand for the package: one network of one layer."""

    __version__ = "1"

    @staticmethod
    def is_model(name: str) -> bool:
        return name == "resnet18"

    @staticmethod
    def list_models() -> list[str]:
        return ["resnet18", "vit_tiny_patch16_224"]

    @staticmethod
    def create_model(name: str, *, num_classes: int, in_chans: int, **arguments: Any) -> nn.Module:
        if arguments.pop("img_size", 32) != 32:
            raise AssertionError("expected 32")
        return Headed(in_chans, num_classes, **arguments)


class Headed(nn.Module):
    """Have what every network of timm has."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(channels, 4, 3), nn.Linear(4, classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x.mean((2, 3)) if pre_logits else self.head(x.mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def test_what_timm_has_is_taken_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm)
    model = build_timm(TimmModelOptions(arguments={"img_size": 32}), shape=(3, 32, 32), classes=7)
    inputs = torch.randn(2, 3, 8, 8)
    assert model(inputs).shape == (2, 7)
    assert torch.equal(model(inputs), model.network.head(model.features(inputs)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "resnet81"}, "the name of one in timm 1, found 'resnet81'; did you mean 'resnet18'"),
        ({"arguments": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"arguments": {"img_size": 64}}, "AssertionError: expected 32"),
    ],
)
def test_what_timm_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch, options: Any, text: str) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm)
    with pytest.raises(OptionsError) as error:
        build_timm(TimmModelOptions(**options), shape=(3, 32, 32), classes=10)
    assert text in str(error.value)
    assert "Correct architecture.model." in str(error.value)


@pytest.mark.parametrize("argument", ["num_classes", "in_chans", "pretrained"])
def test_what_the_data_decide_is_no_argument(argument: str) -> None:
    with pytest.raises(ValueError, match=f"arguments must not contain '{argument}'"):
        TimmModelOptions(arguments={argument: 1})


def test_the_package_itself_where_it_is_installed() -> None:
    pytest.importorskip("timm")
    model = build_timm(TimmModelOptions(name="resnet18"), shape=(3, 32, 32), classes=7).eval()
    inputs = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(inputs), model.network.get_classifier()(model.features(inputs)))
