"""Train PyTorch models over one data set or many, and keep every model alive.

Options become a run, a run leaves checkpoints, a checkpoint becomes an exported model. Importing this package
imports nothing else, so that `milepost --help` answers at once: import the layer you need, for instance
`milepost.archive` to look into a file or `milepost.atoms` to run a model in ASE.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
