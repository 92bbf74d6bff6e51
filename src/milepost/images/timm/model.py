"""A network of the package timm (R. Wightman, PyTorch image models), with random weights.

Nothing is downloaded: a model must open without a connection. Weights from elsewhere are taken over by fine-tuning
(`architecture.training.finetune.read_from`). Failure: MissingDependencyError where timm is not installed, OptionsError
where it knows no network of the name or the network does not take the arguments.

Shapes: inputs [n, channels, rows, columns], features [n, features], logits [n, classes].
"""

from typing import Any

from torch import Tensor, nn

from milepost.errors import MissingDependencyError, OptionsError
from milepost.images.timm.options import TimmModelOptions
from milepost.options.expectation import did_you_mean


class TimmModel(nn.Module):
    """Classify images by a network of timm, which has a head of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the network's head sees."""
        return self.network.forward_head(self.network.forward_features(inputs), pre_logits=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        return self.network(inputs)


def build(options: TimmModelOptions, *, shape: tuple[int, int, int], classes: int) -> TimmModel:
    """Make a network for images of this shape (channels, rows, columns)."""
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a torchvision that was made for another torch raises the latter
        raise MissingDependencyError(
            f"could not make the network '{options.name}': expected the package timm, found that it can't be imported: "
            f"{error}. Install it with `pip install 'milepost[timm]'`."
        ) from error
    if not timm.is_model(options.name):
        raise OptionsError(
            f"could not make a network: expected the name of one in timm {timm.__version__}, found '{options.name}'"
            f"{did_you_mean(options.name, timm.list_models())}. Correct architecture.model.name."
        )
    try:
        network = timm.create_model(options.name, num_classes=classes, in_chans=shape[0], **options.arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise OptionsError(
            f"could not make the network '{options.name}' for images of {' × '.join(map(str, shape))}: "
            f"{type(error).__name__}: {error}. Correct architecture.model.arguments."
        ) from error
    return TimmModel(network)
