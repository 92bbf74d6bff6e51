"""The atomistic domain: structures in, energies with exact derivatives out.

`Calculator` runs a trained potential in ASE, from a checkpoint or an exported file. It is imported when it is
first used, so that reading options needs no torch.
"""

import typing

if typing.TYPE_CHECKING:
    from milepost.atoms.calculator import Calculator

__all__ = ["Calculator"]


def __getattr__(name: str) -> typing.Any:
    if name == "Calculator":
        from milepost.atoms.calculator import Calculator

        return Calculator
    raise AttributeError(f"module 'milepost.atoms' has no attribute '{name}'")
