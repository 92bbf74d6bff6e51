"""A residual network of 18 layers for small images.

K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016: two basic blocks (fig. 2) in
each of four stages (table 1), shortcuts by projection where the shape changes (eq. 2, option B). As usual for CIFAR,
and as in P. Buzzega et al., NeurIPS 2020, the first layer is a 3 × 3 convolution of stride 1 without pooling after it.

Shapes: inputs [n, channels, rows, columns], features [n, 8 · filters], logits [n, classes].
"""

from torch import Tensor, nn

from milepost.images.resnet18.options import ResNet18ModelOptions

BLOCKS = 2
"""Blocks in a stage."""


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


class Block(nn.Module):
    """Add to the input what two convolutions make of it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _convolution(outputs, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [n, outputs, rows / stride, columns / stride]."""
        change = self.bn2(self.conv2(self.bn1(self.conv1(inputs)).relu()))
        return (change + self.shortcut(inputs)).relu()


class ResNet18(nn.Module):
    """Classify images by the stages `layer1` … `layer4` and the head `classifier`."""

    def __init__(self, channels: int, filters: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(channels, filters, 1), nn.BatchNorm2d(filters)
        self.layer1 = _stage(filters, filters, 1)
        self.layer2 = _stage(filters, 2 * filters, 2)
        self.layer3 = _stage(2 * filters, 4 * filters, 2)
        self.layer4 = _stage(4 * filters, 8 * filters, 2)
        self.classifier = nn.Linear(8 * filters, classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the head sees, the mean over all places of the last stage: [n, 8 · filters]."""
        values = self.bn1(self.conv1(inputs)).relu()
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = stage(values)
        return values.mean((2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        return self.classifier(self.features(inputs))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(Block(inputs if n == 0 else outputs, outputs, stride if n == 0 else 1) for n in range(BLOCKS))
    )


def build(options: ResNet18ModelOptions, *, shape: tuple[int, int, int], classes: int) -> ResNet18:
    """Make a network for images of this shape (channels, rows, columns)."""
    return ResNet18(shape[0], options.filters, classes)
