"""`map_location` means what it means to `torch.load`."""

from typing import Any

import pytest
import torch

from milepost.lightning.devices import device_of


def on_meta(storage: torch.UntypedStorage, place: str) -> torch.UntypedStorage:
    assert place == "cpu"
    return torch.empty(0, device="meta").untyped_storage()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "cpu"),
        ("meta", "meta"),
        (torch.device("meta"), "meta"),
        ({"cuda:0": "meta"}, "cpu"),
        ({"cpu": "meta"}, "meta"),
        (lambda storage, place: storage, "cpu"),
        (lambda storage, place: None, "cpu"),
        (on_meta, "meta"),
    ],
)
def test_a_map_location_is_a_device(given: Any, kind: str) -> None:
    assert device_of(given).type == kind


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a map_location of a device, its name, a dict or a function, found 3"):
        device_of(3)
