"""Write out what a function does to tensors, as one flat list of operations.

The function is run once on examples, and every operation beneath autograd is noted as it passes: what the function
differentiates is in the list too. Beside the list stand the tensors that are neither inputs nor made on the way.

Promise: the list computes what the function does for inputs of the same shapes, as long as no number in them decides
what it does; `text` is the same for the same computation, in every process, and for no other.
Needs: a function of tensors alone that returns a list of them. Nothing of torch's compiler, which takes as long to
import as torch itself.
Failure: OptionsError where the function takes a number out of a tensor, which a list can't express.
"""

import hashlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from milepost.errors import OptionsError

Function = Callable[..., list[Tensor]]


class Recording(TorchDispatchMode):
    """Hold the operations of a function as a graph, and the constants in it by name."""

    def __init__(self, function: Function, examples: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes: dict[int, fx.Node] = {}
        self._seen: list[Tensor] = []  # held, so that no other tensor takes the identity of one of them
        self._inputs = [_form(example) for example in examples]
        for number, example in enumerate(examples):
            self._note(example, self.graph.placeholder(f"input_{number}"))
        with self:
            results = function(*examples)
        self.graph.output([self._node(result) for result in results])
        del self._nodes, self._seen

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out torch's own wrapper, which imports the compiler in order to tell it to keep out."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and note it."""
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default:
            raise OptionsError(
                "could not compile the training step: expected operations on tensors alone, found one that takes a "
                "number out of a tensor (item, int, float, bool). Set architecture.training.compile: false."
            )
        nodes = tree_map_only(Tensor, self._node, (args, kwargs or {}))
        node = self.graph.call_function(func, *nodes)
        if isinstance(result, Tensor):
            self._note(result, node)
        elif isinstance(result, (tuple, list)):
            for place, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._note(part, self.graph.call_function(operator.getitem, (node, place)))
        return result

    def module(self) -> fx.GraphModule:
        """Return the list as a module that takes the inputs and returns the results."""
        root = torch.nn.Module()
        for name, value in self.constants.items():
            root.register_buffer(name, value)
        return fx.GraphModule(root, self.graph)

    def text(self) -> str:
        """Return the list with the form of all inputs and the digest of each constant, a line for each."""
        lines = [f"{node.name} = {node.op} {node.target} {node.args} {node.kwargs}" for node in self.graph.nodes]
        constants = [f"{name} = {_form(value)} {_digest(value)}" for name, value in self.constants.items()]
        return "\n".join([*self._inputs, *constants, *lines])

    def _note(self, tensor: Tensor, node: fx.Node) -> None:
        self._nodes[id(tensor)] = node
        self._seen.append(tensor)

    def _node(self, tensor: Tensor) -> fx.Node:
        """Return the node that made a tensor; one that nothing here made is a constant."""
        if id(tensor) not in self._nodes:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = tensor.detach().clone()
            with self.graph.inserting_before(next(iter(self.graph.nodes))):
                self._note(tensor, self.graph.get_attr(name))
        return self._nodes[id(tensor)]


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}"


def _digest(tensor: Tensor) -> str:
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()
