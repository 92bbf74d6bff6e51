"""Compute the loss of a batch and its gradients, compiled as one graph where a compiler is present.

A loss that contains derivatives of the model (forces, say) needs a second differentiation, which the usual route of
compilation can't take. So the whole computation, loss and gradients with respect to the weights, is first written
out as one flat list of tensor operations (`make_fx`) and that list is compiled: once for every shape of batch.

With a `precision` of 16 bits the loss is computed under torch's autocast: products of matrices in that type, sums and
weights in 32 bits. A loss of float16 is multiplied by a scale before it is differentiated; see `precision`.

Promise: `compiled` and `eager` steps compute the same function up to rounding; each is a pure function of weights,
buffers, batch and torch's random state, the same bits every time on the same machine with the same number of threads.
Tracing and compiling draw no random numbers, so that it does not matter when they happen.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from milepost.checkpoint import RandomState
from milepost.errors import MissingDependencyError
from milepost.learning import Batch, StepLoss

COMPILER_OPTIONS: dict[str, Any] = {"cpp.simdlen": 1}
"""Leave vectorizing to the C++ compiler: the step is as fast, and compiling it takes two thirds of the time."""

LossFunction = Callable[[nn.Module, Batch], StepLoss]
"""Computes the loss of a batch: a pure function of the model's weights and buffers and of the batch."""


class _Bound(nn.Module):
    """Give a loss function a module to be called with, so that weights can be substituted from outside."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> StepLoss:
        return self.loss(self.model, batch)


def keep_compiled_code() -> None:
    """Let torch's compiler keep what it compiles in the user's cache folder, where the next run finds it.

    Its own default is the machine's temporary folder, which a job on a cluster does not find again. A place that the
    user chose (TORCHINDUCTOR_CACHE_DIR) stays.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "milepost" / "compiled"))


def compiler_present() -> bool:
    """Tell whether this machine can compile a step: a C++ compiler on the CPU."""
    return any(shutil.which(name) for name in ("g++", "c++", "clang++"))


class GradientStep:
    """Compute loss, its parts, what is kept and all gradients of a batch, and put the gradients on the parameters.

    `parameters` are the trainable ones; those that the loss does not touch get a gradient of zeros. `mode` is "eager"
    or "compiled".
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        mode: str,
        say: Callable[[str], None] | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        self.mode = mode
        self.precision = precision
        self._say = say or (lambda message: None)
        self._bound = _Bound(model, loss)
        self._names = [name for name, p in self._bound.named_parameters() if p.requires_grad]
        self.parameters = [p for p in self._bound.parameters() if p.requires_grad]
        self._graphs: dict[tuple[Any, ...], Callable[..., list[Tensor]]] = {}
        self._parts: list[str] = []
        self._kept: list[str] = []

    def __call__(self, batch: Batch, scale: float = 1.0) -> StepLoss:
        """Return what the loss does, detached; set `.grad` of every trainable parameter, `scale` times as large."""
        if self.mode == "eager":
            return self._eager(batch, scale)
        factor = self.parameters[0].new_tensor(scale)
        inputs = [*self.parameters, *self._constants(), *batch.values(), factor]
        function = self._compiled(inputs, list(batch))
        with torch.no_grad():
            results = function(*(x.detach() for x in inputs))
        n, m = len(self.parameters), len(self.parameters) + 1 + len(self._parts)
        self.put(results[:n])
        parts = dict(zip(self._parts, results[n + 1 : m], strict=True))
        return StepLoss(results[n], parts, dict(zip(self._kept, results[m:], strict=True)))

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
        """Put a gradient on each trainable parameter, in their order."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def gradients(self) -> list[Tensor]:
        """List the gradients that are on the trainable parameters."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def _constants(self) -> list[Tensor]:
        frozen = [p for p in self._bound.parameters() if not p.requires_grad]
        return [*frozen, *self._bound.buffers()]

    def _flat(self, batch_names: list[str]) -> Callable[..., list[Tensor]]:
        """Write the step as a function of tensors: weights, constants, batch, scale → gradients, loss, parts, kept."""
        frozen = [name for name, p in self._bound.named_parameters() if not p.requires_grad]
        constants = [*frozen, *(name for name, _ in self._bound.named_buffers())]

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
            self._parts, self._kept = list(parts), list(kept)
            filled = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)]
            return [value.detach() for value in (*filled, total, *parts.values(), *kept.values())]

        return step

    def _compiled(self, inputs: list[Tensor], batch_names: list[str]) -> Callable[..., list[Tensor]]:
        """Trace and compile the step for the shapes at hand, or reuse what was compiled for them before."""
        key = tuple((tuple(x.shape), x.dtype) for x in inputs[len(self.parameters) : -1])
        if key not in self._graphs:
            self._say(
                f"compiling the step for batches of {key[-1][0][0]} examples: this takes minutes once, seconds later"
            )
            with _drawing_nothing():
                self._graphs[key] = self._compile([x.detach().clone() for x in inputs], batch_names)
        return self._graphs[key]

    def _compile(self, examples: list[Tensor], batch_names: list[str]) -> Callable[..., list[Tensor]]:
        traced = make_fx(self._flat(batch_names), tracing_mode="real", _allow_non_fake_inputs=True)(*examples)
        traced.graph.eliminate_dead_code()
        traced.recompile()
        keep_compiled_code()
        compiled = torch.compile(traced, dynamic=False, fullgraph=True, options=COMPILER_OPTIONS)
        with torch.no_grad():
            compiled(*examples)  # it is compiled when it is first called
        return compiled

    def _autocast(self) -> AbstractContextManager[object]:
        """Compute in mixed precision; a weight that is used twice is rounded twice, and its gradients are summed in
        32 bits.
        """
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, self.precision, cache_enabled=False)


@contextmanager
def _drawing_nothing() -> Iterator[None]:
    """Put every global random generator back to where it was: a run compiles whenever it is started."""
    random = RandomState()
    before = random.state_dict()
    try:
        yield
    finally:
        random.load_state_dict(before)


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
        wanted = "a C++ compiler (g++ or clang++)" if on_cpu else "triton"
        raise MissingDependencyError(
            f"could not compile the training step: expected {wanted}, "
            "found none. Install it, or set architecture.training.compile: false."
        )
    compiled = possible and (setting is True or (setting == "auto" and steps >= WORTH_COMPILING * shapes))
    return "compiled" if compiled else "eager"
