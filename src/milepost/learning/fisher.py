"""Measure how much each weight matters for a task: the diagonal of the Fisher matrix, as it is used in online EWC.

The squared derivatives of every example's log-likelihood are weighted with the likelihood itself, and averaged:

    F = 1/N Σ_n p_n (∂ log p_n / ∂θ)²        p_n = exp(-loss of example n)

at the label that was observed: not the expectation over the model's own labels that the name Fisher stands for, but
what the experiments of P. Buzzega et al. (Dark Experience for General Continual Learning, NeurIPS 2020) were made with.

Derivatives of single examples take one differentiation each. Where all weights are those of linear layers, one is
enough for a whole batch: an example's derivative by a weight is δ a, its layer's input a times the derivative δ by its
layer's output (I. Goodfellow, Efficient per-example gradient computations, arXiv:1510.01799), and its square is δ² a².
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milepost.learning.data import Batch, DataSet
from milepost.learning.objective import Objective
from milepost.learning.weights import as_evaluated, flattened, gradients, on_device, trainable

AGREEMENT = 1e-4
"""How far sums of δ a may be from the derivatives of the batch, in units of |δ| |a|: far above what rounding in 32 bits
does, far below what a second way from a weight to the loss does."""

NEGLIGIBLE = 1e-24
"""Squares below this count as zero. They hold nothing, and products with them would soon be subnormal, numbers
that processors take a hundred times as long for."""


TOGETHER = 256
"""Examples that are taken at once, where that can be done."""


class Fisher:
    """Measure examples of a data set as they are named, and return the mean; `Stateful`.

    The model computes as in an evaluation, so that an example's derivatives depend on no other example. Whether several
    can be taken at once is found out with the first ones.
    """

    def __init__(self, objective: Objective, examples: DataSet, device: torch.device) -> None:
        self.objective, self.examples, self.device = objective, examples, device
        self.clear()

    def clear(self) -> None:
        """Forget what was measured."""
        self._sum: Tensor | None = None
        self._count = 0
        self._at_once: bool | None = None
        self._waiting = torch.empty(0, dtype=torch.long)

    def add(self, model: nn.Module, indices: Tensor) -> None:
        """Measure these examples, now or together with the next ones: the model must stay as it is until `mean`."""
        with as_evaluated(model), torch.enable_grad():
            if self._at_once is None:
                self._at_once = self._can_be_at_once(model, indices)
            if not self._at_once:
                self._add_one_by_one(model, indices)
                return
            self._waiting = torch.cat([self._waiting, indices.cpu()])
            if len(self._waiting) >= TOGETHER:
                self._add_waiting(model)

    def mean(self, model: nn.Module) -> Tensor:
        """Return the mean over all examples: a vector like the model's trainable weights, zeros without examples."""
        if len(self._waiting):
            with as_evaluated(model), torch.enable_grad():
                self._add_waiting(model)
        if self._sum is None:
            return torch.zeros_like(flattened(trainable(model)))
        return F.threshold(self._sum / self._count, NEGLIGIBLE, 0)

    def _can_be_at_once(self, model: nn.Module, indices: Tensor) -> bool:
        if not _linear_layers(model):
            return False
        passed = _passed(self.objective, model, self.examples.batch(indices))
        return passed is not None and _explained(passed, trainable(model))

    def _add_waiting(self, model: nn.Module) -> None:
        indices, self._waiting = self._waiting, self._waiting[:0]
        passed = _passed(self.objective, model, self.examples.batch(indices))
        if passed is None:
            self._add_one_by_one(model, indices)
            return
        weights = trainable(model)
        parts = self._total(weights).split([weight.numel() for weight in weights])
        _add_at_once(passed, {id(w): part.view_as(w) for w, part in zip(weights, parts, strict=True)})
        self._count += len(indices)

    def _add_one_by_one(self, model: nn.Module, indices: Tensor) -> None:
        weights = trainable(model)
        total = self._total(weights)
        for index in indices.split(1):
            loss, _ = self.objective.task_loss(model, self.examples.batch(index))
            gradient = flattened(gradients(loss, weights))
            total += F.threshold(torch.exp(-loss.detach()) * gradient.square_(), NEGLIGIBLE, 0)
        self._count += len(indices)

    def _total(self, weights: list[Tensor]) -> Tensor:
        if self._sum is None:
            self._sum = torch.zeros_like(flattened(weights))
        return self._sum

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured so far, and what waits."""
        return {"sum": self._sum, "count": self._count, "at_once": self._at_once, "waiting": self._waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was measured."""
        self._sum, self._count = on_device(state["sum"], self.device), state["count"]
        self._at_once, self._waiting = state["at_once"], state["waiting"].clone()


class _Passed(NamedTuple):
    """Hold a batch's way through the model: layers, their inputs and outputs, and the loss of each example."""

    layers: list[nn.Linear]
    inputs: list[Tensor]
    outputs: list[Tensor]
    losses: Tensor


def _passed(objective: Objective, model: nn.Module, batch: Batch) -> _Passed | None:
    """Send a batch through linear layers; None where the model or the objective is of another kind."""
    layers = _linear_layers(model)
    if not layers:
        return None
    used: list[nn.Module] = []
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def record(layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        used.append(layer)
        inputs.append(given[0].detach())
        outputs.append(output)

    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        losses = objective.losses(objective.outputs(model, batch), batch)
    finally:
        for hook in hooks:
            hook.remove()
    if losses is None or sorted(map(id, used)) != sorted(map(id, layers)):
        return None
    if any(value.dim() != 2 or len(value) != len(losses) for value in inputs):
        return None
    return _Passed([layer for layer in used if isinstance(layer, nn.Linear)], inputs, outputs, losses)


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    """List the linear layers that hold trainable weights; none where a weight is held elsewhere, or twice."""
    layers: list[nn.Linear] = []
    held: list[int] = []
    for module in model.modules():
        own = [id(weight) for weight in module.parameters(recurse=False) if weight.requires_grad]
        if own and type(module) is not nn.Linear:
            return []
        if own and isinstance(module, nn.Linear):
            layers.append(module)
            held += own
    return layers if len(held) == len(set(held)) else []


def _explained(passed: _Passed, weights: list[Tensor]) -> bool:
    """Tell whether δ and a account for all of the derivatives of the batch.

    They don't where a loss holds derivatives of the model, or where an output was changed in place.
    """
    wanted = [*passed.outputs, *weights]
    found = torch.autograd.grad(passed.losses.sum(), wanted, allow_unused=True, retain_graph=True)
    by_output, by_weight = (
        found[: len(passed.outputs)],
        dict(zip(map(id, weights), found[-len(weights) :], strict=True)),
    )
    for layer, a, delta in zip(passed.layers, passed.inputs, by_output, strict=True):
        if delta is None:
            return False
        sums = {id(layer.weight): delta.T @ a, id(layer.bias): delta.sum(0)}
        scale = delta.norm() * a.norm().clamp(min=len(a) ** 0.5)
        for weight, expected in sums.items():
            given = by_weight.get(weight, expected)
            if given is None or not (given - expected).norm() <= AGREEMENT * scale:
                return False
    return True


def _add_at_once(passed: _Passed, squares: dict[int, Tensor]) -> None:
    """Add p δ² a² of every example, for each weight."""
    deltas = torch.autograd.grad(passed.losses.sum(), passed.outputs)
    likelihood = torch.exp(-passed.losses.detach())[:, None]
    for layer, a, delta in zip(passed.layers, passed.inputs, deltas, strict=True):
        weighted = F.threshold(likelihood * delta.square(), NEGLIGIBLE, 0)
        if id(layer.weight) in squares:
            squares[id(layer.weight)].addmm_(weighted.T, a.square())
        if id(layer.bias) in squares:
            squares[id(layer.bias)].add_(weighted.sum(0))
