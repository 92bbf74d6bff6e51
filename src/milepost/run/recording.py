"""Write out what a function does to tensors, as one flat list of operations.

The function is run once on examples, and every operation beneath autograd is noted as it passes: what the function
differentiates is in the list too. Beside the list stand the tensors that are neither inputs nor made on the way; the
list computes with a fresh copy of them each time.

Promise: the list computes what the function does for inputs of the same form; `text` is the same for the same
computation, in every process, and for no other.
Needs: a function of tensors alone that returns a list of them. Nothing of torch's compiler, which takes as long to
import as torch itself.
Failure: OptionsError where a list can't express what the function does: it takes numbers out of tensors, or makes
tensors whose shape depends on numbers; it writes to tensors that are no inputs, or differentiates with respect to them;
it draws random numbers from another generator than torch's own.
"""

import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from milepost.errors import OptionsError

Function = Callable[..., list[Tensor]]

LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default, torch.ops.aten.lift.default)
"""What torch.tensor(...) passes a tensor through that it has just made, and that nobody else holds."""

DEPENDING_ON_NUMBERS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})

MASKS = (torch.bool, torch.uint8)


class Recording(TorchDispatchMode):
    """Hold the operations of a function as a graph, and the constants in it by name.

    `own` are tensors that the function's results depend on and that must come to it as inputs: weights and buffers.
    """

    def __init__(self, function: Function, examples: Sequence[Tensor], own: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes = WeakTensorKeyDictionary()
        self._own = {_place(tensor) for tensor in own} - {0}
        self._held: dict[int, Tensor] = {}  # what lies outside, so that nothing else comes to lie in its place
        self._inputs = [_form(example) for example in examples]
        for number, example in enumerate(examples):
            self._nodes[example] = self.graph.placeholder(f"input_{number}")
        with _TakingNothingOut(), self:
            results = function(*examples)
        self.graph.output([self._node(result) for result in results])
        del self._nodes, self._held

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out torch's own wrapper, which imports the compiler in order to tell it to keep out."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and note it."""
        given = kwargs or {}
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, given))):
            raise _refused(f"found one that draws from a generator of its own ({func})")
        for tensor in _written(func, args, given):
            self._refuse_outside(tensor)
        lifted = func in LIFTS
        args_noted, given_noted = tree_map_only(Tensor, lambda x: self._node(x, fresh=lifted), (args, given))
        result = func(*args, **given)
        if _depends_on_numbers(func, args, result):
            raise _refused(f"found one that depends on the numbers in a tensor ({func})")
        node = self.graph.call_function(func, args_noted, given_noted)
        if isinstance(result, Tensor):
            self._nodes[result] = node
        elif isinstance(result, (tuple, list)):
            for place, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._nodes[part] = self.graph.call_function(operator.getitem, (node, place))
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

    def _node(self, tensor: Tensor, *, fresh: bool = False) -> fx.Node:
        """Return the node that made a tensor; one that nothing here made is a constant, of which each run of the list
        has a copy to itself.
        """
        known: fx.Node | None = self._nodes.get(tensor)
        if known is not None:
            return known
        if tensor.requires_grad or _place(tensor) in self._own:
            raise _refused(
                f"found one on a weight or buffer {tuple(tensor.shape)} that the model has past its parameters and "
                "buffers (in a list, a closure, `.data`)"
            )
        name = f"constant_{len(self.constants)}"
        self.constants[name] = tensor.detach().clone()
        if not fresh:
            self._held[_place(tensor)] = tensor
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            held = self.graph.get_attr(name)
        with self.graph.inserting_after(held):
            copy = self.graph.call_function(torch.ops.aten.clone.default, (held,))
        self._nodes[tensor] = copy
        return copy

    def _refuse_outside(self, tensor: Tensor) -> None:
        """Refuse to write to what lies outside: the list would write to a copy."""
        if _place(tensor) in self._held or (tensor not in self._nodes and tensor.numel()):
            raise _refused(f"found one that writes to a tensor {tuple(tensor.shape)} that is no buffer of the model")


class _TakingNothingOut(TorchFunctionMode):
    """Refuse what hands out a tensor's numbers without an operation."""

    NAMES = frozenset({"tolist", "numpy", "__array__", "__dlpack__"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in self.NAMES:
            raise _refused(f"found one that takes numbers out of a tensor ({func.__name__})")
        return func(*args, **(kwargs or {}))


def _depends_on_numbers(func: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Tell whether other numbers in its inputs could make an operation return something else than other numbers."""
    if isinstance(result, (bool, int, float, complex)):
        return True
    if func is torch.ops.aten.index.Tensor:  # with numbers of places its result has their shape
        return any(isinstance(index, Tensor) and index.dtype in MASKS for index in args[1])
    return not DEPENDING_ON_NUMBERS.isdisjoint(func.tags)


def _written(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Iterator[Tensor]:
    """List the tensors that an operation writes to."""
    if not func._schema.is_mutable:
        return
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else given.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _refused(found: str) -> OptionsError:
    return OptionsError(
        "could not compile the training step: expected operations on the model's parameters, its buffers and the batch "
        f"alone, {found}. Set architecture.training.compile: false."
    )


def _place(tensor: Tensor) -> int:
    """Return where a tensor's numbers lie in memory, 0 for none."""
    return tensor.untyped_storage().data_ptr()


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}"


def _digest(tensor: Tensor) -> str:
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()
