"""Write down the structure of a saved tree, without its values: what a drift test compares."""

from typing import Any

import torch

OF_THE_MACHINE = "random.cuda"
"""A list with one entry for each device that there is."""


def describe_tree(value: Any, place: str, lines: dict[str, str]) -> None:
    """Add a line for every place in a tree: the type there, of a tensor also its shape."""
    if isinstance(value, torch.Tensor):
        lines[place] = f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")
    elif isinstance(value, dict):
        lines[place] = "dict"
        for key, item in value.items():
            describe_tree(item, f"{place}.{key}", lines)
    elif isinstance(value, list | tuple):
        lines[place] = type(value).__name__
        for item in value if place != OF_THE_MACHINE else ():
            describe_tree(item, f"{place}[]", lines)
    else:
        lines[place] = type(value).__name__
