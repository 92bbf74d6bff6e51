"""A multilayer perceptron with ReLU and one head for all classes.

With two hidden layers of 100 units it is the network on which MNIST is learned task by task: D. Lopez-Paz, M. Ranzato,
Gradient episodic memory for continual learning, NeurIPS 2017, section 5; the weights begin as in P. Buzzega et al.,
Dark experience for general continual learning, NeurIPS 2020 (the authors' code): Xavier-uniform (X. Glorot, Y. Bengio,
AISTATS 2010, eq. 16), biases 0.

Shapes: inputs [n, channels, rows, columns], features [n, units of the last hidden layer], logits [n, classes].
"""

import math
from itertools import pairwise

from torch import Tensor, nn

from milepost.images.mlp.options import MLPModelOptions


class MLP(nn.Module):
    """Classify images by layers `fc1`, `fc2`, … and the head `classifier`."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], classes: int) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
        for number, layer in enumerate(layers, 1):
            self.add_module(f"fc{number}", layer)
        self.classifier = nn.Linear(widths[-1], classes)
        self._hidden = tuple(f"fc{number}" for number in range(1, len(widths)))
        for layer in (*layers, self.classifier):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the head sees: [n, units of the last hidden layer]."""
        values = inputs.flatten(1)
        for name in self._hidden:
            values = getattr(self, name)(values).relu()
        return values

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        return self.classifier(self.features(inputs))


def build(options: MLPModelOptions, *, shape: tuple[int, int, int], classes: int) -> MLP:
    """Make a network for images of this shape (channels, rows, columns)."""
    return MLP(math.prod(shape), options.hidden, classes)
