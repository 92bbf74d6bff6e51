"""The network of the toy domain, in a folder of its own: a checkpoint captures the code beside it."""

from torch import Tensor, nn


class Toy(nn.Module):
    """Map a few features to one number; dropout makes a step depend on torch's global generator."""

    def __init__(self, inputs: int, features: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, features), nn.Tanh(), nn.Dropout(dropout), nn.Linear(features, features), nn.Tanh(),
            nn.Linear(features, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return one number for each row of x: [rows, inputs] → [rows]."""
        return self.layers(x).squeeze(-1)


def build(inputs: int, features: int, dropout: float) -> Toy:
    """Make the network, with weights from torch's global generator."""
    return Toy(inputs, features, dropout)
