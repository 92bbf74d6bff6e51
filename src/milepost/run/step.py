"""Compute the loss of a batch and its gradients, compiled as one graph where a compiler is present.

A loss that contains derivatives of the model (forces, say) needs a second differentiation, which the usual route of
compilation can't take. So the whole computation, loss and gradients with respect to the weights, is first written
out as one flat list of tensor operations (`recording`) and that list is compiled: once for every form of batch.

With a `precision` of 16 bits the loss is computed under torch's autocast: products of matrices in that type, sums and
weights in 32 bits. A loss of float16 is multiplied by a scale before it is differentiated; see `precision`.

Promise: `compiled` and `eager` steps compute the same function up to rounding; each is a pure function of weights,
buffers, batch and torch's random state, the same bits every time on the same machine with the same number of threads.
Compiling draws no random numbers, so that it does not matter when it happens.
"""

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from milepost.errors import MissingDependencyError, OptionsError
from milepost.learning import Batch, StepLoss
from milepost.run.compiling import Compiled, compiled, compiler_present, recorded
from milepost.run.recording import Function

LossFunction = Callable[[nn.Module, Batch], StepLoss]
"""Computes the loss of a batch: a pure function of the model's weights and buffers and of the batch."""


_Compiled = tuple[Compiled, list[str], list[str]]


class _Bound(nn.Module):
    """Give a loss function a module to be called with, so that weights can be substituted from outside."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> StepLoss:
        """Return the loss; raises OptionsError where the model has other buffers afterwards, which would be lost."""
        before = list(self.model.buffers())
        result = self.loss(self.model, batch)
        if moved := [name for (name, x), y in zip(self.model.named_buffers(), before, strict=True) if x is not y]:
            raise OptionsError(
                "could not compile the training step: expected a model that writes to its buffers in place, found "
                f"other tensors in their stead: {', '.join(moved)}. Use copy_ and the like, or set "
                "architecture.training.compile: false."
            )
        return result


class _Slots:
    """Find a module's frozen parameters and its buffers as they are now, which may be other tensors every time."""

    def __init__(self, module: nn.Module) -> None:
        frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
        self.names = [*frozen, *(name for name, _ in module.named_buffers())]
        places = [name.rpartition(".") for name in self.names]
        self._places = [(module.get_submodule(owner), name) for owner, _, name in places]

    def __call__(self) -> list[Tensor]:
        return [getattr(owner, name) for owner, name in self._places]


class GradientStep:
    """Compute loss, its parts, what is kept and all gradients of a batch, and put the gradients on the parameters.

    `parameters` are the trainable ones; those that the loss does not touch get a gradient of zeros. `mode` is "eager"
    or "compiled"; a step for which that can't be done is computed operation by operation after all, and `say` told why,
    unless compiling is `demanded`: then calling raises OptionsError.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        mode: str,
        say: Callable[[str], None] | None = None,
        precision: torch.dtype | None = None,
        *,
        demanded: bool = True,
    ) -> None:
        self.mode, self.demanded = mode, demanded
        self.precision = precision
        self._say = say or (lambda message: None)
        self._bound = _Bound(model, loss)
        self._names = [name for name, p in self._bound.named_parameters() if p.requires_grad]
        self.parameters = [p for p in self._bound.parameters() if p.requires_grad]
        self._constants = _Slots(self._bound)
        self._unscaled = self.parameters[0].new_tensor(1.0)
        self._compiled: dict[tuple[Any, ...], _Compiled | None] = {}

    def __call__(self, batch: Batch, scale: float = 1.0) -> StepLoss:
        """Return what the loss does, detached; set `.grad` of every trainable parameter, `scale` times as large."""
        if self.mode == "eager":
            return self._eager(batch, scale)
        factor = self._unscaled if scale == 1.0 else self.parameters[0].new_tensor(scale)
        constants = self._constants()
        inputs = [*self.parameters, *constants, *batch.values(), factor]
        form = (tuple(batch), *((x.shape, x.stride(), x.dtype) for x in (*constants, *batch.values())))
        if form not in self._compiled:
            self._compiled[form] = self._compile(inputs, batch)
        found = self._compiled[form]
        if found is None:
            return self._eager(batch, scale)
        function, parts, kept = found
        with torch.no_grad():
            results = function(inputs)
        n, m = len(self.parameters), len(self.parameters) + 1 + len(parts)
        self.put(results[:n])
        losses = dict(zip(parts, results[n + 1 : m], strict=True))
        return StepLoss(results[n], losses, dict(zip(kept, results[m:], strict=True)))

    def _eager(self, batch: Batch, scale: float) -> StepLoss:
        """Compute it operation by operation, on the parameters themselves."""
        with torch.enable_grad():
            with self._autocast():
                total, parts, kept = self._bound.loss(self._bound.model, batch)
            scaled = total if self.precision is None else total.float() * scale
            gradients = torch.autograd.grad(scaled, self.parameters, allow_unused=True)
        self.put([torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, gradients, strict=True)])
        parts = {name: value.detach() for name, value in parts.items()}
        return StepLoss(total.detach(), parts, {name: value.detach() for name, value in kept.items()})

    def put(self, gradients: Sequence[Tensor]) -> None:
        """Put a gradient on each trainable parameter, in their order, each in memory of its own: scaling and clipping
        write to it.
        """
        taken: set[int] = set()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            place = gradient.untyped_storage().data_ptr()
            shared = place in taken or 0 in gradient.stride()
            parameter.grad = gradient.clone(memory_format=torch.contiguous_format) if shared else gradient
            taken.add(place)

    def gradients(self) -> list[Tensor]:
        """List the gradients that are on the trainable parameters."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def _flat(self, batch_names: Sequence[str], parts_found: list[str], kept_found: list[str]) -> Function:
        """Write the step as a function of tensors: weights, constants, batch, scale → gradients, loss, parts, kept.

        Once it was called, the names of parts and of what is kept stand in the two lists.
        """
        constants = self._constants.names

        def step(*inputs: Tensor) -> list[Tensor]:
            n, m = len(self._names), len(self._names) + len(constants)
            with torch.enable_grad():
                weights = [x.detach().requires_grad_() for x in inputs[:n]]
                state = dict(zip(self._names, weights, strict=True)) | dict(zip(constants, inputs[n:m], strict=True))
                batch = dict(zip(batch_names, inputs[m:-1], strict=True))
                with self._autocast():
                    total, parts, kept = functional_call(self._bound, state, (batch,))
                scaled = total if self.precision is None else total.float() * inputs[-1]
                gradients = torch.autograd.grad(scaled, weights, allow_unused=True)
            parts_found[:], kept_found[:] = parts, kept
            filled = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)]
            return [value.detach() for value in (*filled, total, *parts.values(), *kept.values())]

        return step

    def _compile(self, inputs: list[Tensor], batch: Batch) -> _Compiled | None:
        """Compile the step for inputs of this form; beside it the names of its parts, and of what is kept. None for a
        step that can't be compiled, and need not be: its form alone decides that, so that a resumed run does the same.
        """
        count = next((x.shape[0] for x in reversed(batch.values()) if x.ndim), 1)
        parts, kept = list[str](), list[str]()

        def say() -> None:
            more = f", form {len(self._compiled) + 1}" if self._compiled else ""
            self._say(f"compiling the step for batches of {count} examples{more}: this takes minutes once")

        examples = [_example(x.detach()) for x in inputs]
        own = (*self._bound.parameters(), *self._bound.buffers())
        try:
            recording = recorded(self._flat(tuple(batch), parts, kept), examples, own)
        except OptionsError as error:
            if self.demanded:
                raise
            self._say(f"the step for batches of {count} examples is not compiled: {error}")
            return None
        return compiled(recording, examples, say), parts, kept

    def _autocast(self) -> AbstractContextManager[object]:
        """Compute in mixed precision; a weight that is used twice is rounded twice, and its gradients are summed in
        32 bits.
        """
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, self.precision, cache_enabled=False)


def _example(tensor: Tensor) -> Tensor:
    """Return a copy that lies in memory as a tensor does, so that what a step writes goes to the tensor itself; one of
    which several numbers share a place, to which nothing can be written, as it is.
    """
    if 0 in tensor.stride():
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


WORTH_COMPILING = 5000
"""Steps of one shape from which "auto" compiles: on two cores, compiling takes what 4,000 steps save."""


def choose_mode(setting: str | bool, steps: int, model: nn.Module, shapes: int = 1) -> str:
    """Decide whether a run's steps are compiled; the answer depends on the options, data and machine alone.

    `shapes` is how many shapes of batch there are: each is compiled by itself.

    Raises MissingDependencyError when compiling is demanded and there is no compiler.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    possible = compiler_present() if on_cpu else importlib.util.find_spec("triton") is not None
    if setting is True and not possible:
        wanted = "a C++ compiler (g++, or what CXX names)" if on_cpu else "triton"
        raise MissingDependencyError(
            f"could not compile the training step: expected {wanted}, "
            "found none. Install it, or set architecture.training.compile: false."
        )
    compiled = possible and (setting is True or (setting == "auto" and steps >= WORTH_COMPILING * shapes))
    return "compiled" if compiled else "eager"
