"""Checkpoint → LightningModule, as `load_from_checkpoint` does for Lightning's own files.

Promise: the class is called with the hyper-parameters that were saved, and takes the weights; no code is run that the
file names.
Failure: StateMismatchError where the weights don't fit; the ArchiveError family.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from milepost.checkpoint import module_mismatches
from milepost.errors import StateMismatchError
from milepost.lightning.contents import read_checkpoint
from milepost.lightning.devices import device_of

Module = TypeVar("Module", bound=Any)

_ATTEMPT = "could not load '{path}' as {name}"


def load_module(
    module_class: type[Module], path: Path | str, *, map_location: Any = None, strict: bool = True, **overrides: Any
) -> Module:
    """Build a LightningModule from a checkpoint's hyper-parameters and `overrides`, with its weights.

    `on_load_checkpoint` of the module is called as by Lightning, and the module lies on the device of `map_location`.
    With `strict=False`, weights that only the file or only the module has are left aside. Raises StateMismatchError.
    """
    device = device_of(map_location)
    checkpoint = read_checkpoint(path, device)
    saved = checkpoint.get(module_class.CHECKPOINT_HYPER_PARAMS_KEY, {})
    signature = inspect.signature(module_class.__init__).parameters
    whole = checkpoint.get(module_class.CHECKPOINT_HYPER_PARAMS_NAME)
    arguments: dict[str, Any] = {str(whole): saved} if whole in signature else dict(saved)
    arguments |= overrides
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.values()):
        arguments = {name: value for name, value in arguments.items() if name in signature}
    module = _built(module_class, arguments, path)
    module.on_load_checkpoint(checkpoint)
    try:
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
    except RuntimeError as error:
        problems = module_mismatches(module, checkpoint["state_dict"]) or [str(error)]
        raise StateMismatchError(
            f"{_ATTEMPT.format(path=path, name=module_class.__name__)}:\n  " + "\n  ".join(problems)
            + "\nGive the arguments that the module was saved with, or its other class."
        ) from None  # fmt: skip
    return module.to(device)


def _built(module_class: type[Module], arguments: Mapping[str, Any], path: Path | str) -> Module:
    try:
        inspect.signature(module_class).bind(**arguments)
    except TypeError as error:
        raise StateMismatchError(
            f"{_ATTEMPT.format(path=path, name=module_class.__name__)}: {error}, and the file's hyper-parameters "
            f"have {', '.join(arguments) or 'nothing'} of it. Give the argument to load_module."
        ) from None
    return module_class(**arguments)
