"""A closed interpreter of pickles: a stack machine whose only effects are records in its own memory.

Promise: nothing that the file names is imported, looked up or called, whatever the bytes are. Every opcode of
protocols 0 to 5 is either carried out on inert records (`nodes`) or refused by its name. Steps are counted, so time
and memory are bounded; nothing is recursive, so depth costs nothing here.
Failure: ForeignFileError that names the opcode and its place.

Source of the opcodes: Python's `pickletools` (https://docs.python.org/3/library/pickletools.html).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from milepost.checkpoint.foreign.nodes import Global, Instance, Items, Node, Pairs, Reference
from milepost.checkpoint.foreign.scalars import SCALARS, decimal, text
from milepost.checkpoint.foreign.stream import Stream
from milepost.checkpoint.foreign.window import Window
from milepost.errors import ForeignFileError

HIGHEST_PROTOCOL = 5
MAX_PICKLE_BYTES = 2**30
MAX_STEPS = 5_000_000
_MAX_NAME = 512
_MAX_MEMO = 2**32
# Protocol 2 writes names as Python 2 knew them; https://docs.python.org/3/library/pickle.html, `fix_imports`.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}

REFUSED = {
    0x82: ("EXT1", "its number has a meaning only in the process that wrote it"),
    0x83: ("EXT2", "its number has a meaning only in the process that wrote it"),
    0x84: ("EXT4", "its number has a meaning only in the process that wrote it"),
    0x97: ("NEXT_BUFFER", "the buffer that it takes is in no file"),
    0x98: ("READONLY_BUFFER", "the buffer that it takes is in no file"),
}


@dataclass(frozen=True, slots=True)
class Pickle:
    """What one pickle says: its value, the names that unpickling would import, and its persistent ids.

    `steps` are its opcodes, `size` its bytes, `end` is where it ends in its window.
    """

    root: Node
    globals: tuple[str, ...]
    references: tuple[Node, ...]
    steps: int
    size: int
    end: int


def read_pickle(window: Window, begin: int = 0, *, max_steps: int = MAX_STEPS) -> Pickle:
    """Interpret the pickle that begins at `begin` of `window`, up to its STOP."""
    stream = Stream(window, begin, MAX_PICKLE_BYTES)
    machine = _Machine(stream)
    root = machine.run(max_steps)
    end = stream.position
    return Pickle(root, tuple(machine.globals), tuple(machine.references), machine.steps, end - begin, end)


class _Machine:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stack: list[Node] = []
        self.below: list[list[Node]] = []  # one stack for each open MARK
        self.memo: dict[int, Node] = {}
        self.globals: dict[str, None] = {}
        self.references: list[Node] = []
        self.steps = 0

    def run(self, max_steps: int) -> Node:
        stream, name = self.stream, "the first opcode"
        try:
            while True:
                code = stream.opcode()
                self.steps += 1
                if self.steps > max_steps:
                    raise ForeignFileError(f"expected at most {max_steps} opcodes, found more")
                if code in STRUCTURE:
                    name, act = STRUCTURE[code]
                    act(self)
                elif code in SCALARS:
                    name, read = SCALARS[code]
                    self.stack.append(read(stream))
                elif code == _STOP:
                    return self._result()
                else:
                    name, why = REFUSED.get(code, (f"opcode 0x{code:02x}", "no protocol has it"))
                    raise ForeignFileError(f"{name} is refused: {why}")
        except IndexError:
            raise ForeignFileError(
                f"{name} at byte {stream.began} of the pickle takes more than the stack has"
            ) from None
        except ForeignFileError as error:
            raise ForeignFileError(f"{error} (byte {stream.began} of the pickle)") from None

    def _result(self) -> Node:
        if self.below or len(self.stack) != 1:
            raise ForeignFileError(
                f"STOP: expected one value on the stack, found {len(self.stack)} and {len(self.below)} open marks"
            )
        return self.stack[0]

    def pop_mark(self) -> list[Node]:
        """Return what was pushed since the last MARK."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def push_global(self, module: Node, name: Node) -> None:
        """Push a name; this is all that happens to it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ForeignFileError("expected texts as names of a global, found other values")
        module = _RENAMED.get(module, module)
        if not (module + name).isprintable() or len(module) + len(name) > _MAX_NAME:
            raise ForeignFileError(f"expected the name of a global, found {(module + ' ' + name)[:80]!r}")
        found = Global(module, name)
        self.globals[found.full] = None
        self.stack.append(found)

    def push_reference(self, key: Node) -> None:
        """Push a reference to something outside the pickle."""
        self.references.append(key)
        self.stack.append(Reference(key))

    def memorize(self, index: int) -> None:
        """Keep the value on top under `index`; larger ones than PyTorch writes could be chosen to collide."""
        if not 0 <= index < _MAX_MEMO:
            raise ForeignFileError(f"expected a memo index below {_MAX_MEMO}, found {index}")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Push what was memorized under `index`."""
        if index not in self.memo:
            raise ForeignFileError(f"nothing was memorized under {index}")
        self.stack.append(self.memo[index])


def _number(machine: _Machine, width: int) -> int:
    return int.from_bytes(machine.stream.take(width), "little")


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine) -> None:
    # A POP right after a MARK takes the mark.
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _tuple(machine: _Machine, count: int) -> None:
    if count > len(machine.stack):
        raise IndexError
    machine.stack[-count:] = [tuple(machine.stack[-count:])]


def _marked_tuple(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(tuple(items))


def _marked_list(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(items)


def _marked_items(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(Items(True, items))


def _marked_dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(Pairs(_paired(items)))


def _paired(items: list[Node]) -> list[tuple[Node, Node]]:
    if len(items) % 2:
        raise ForeignFileError("expected keys and values in turn, found a key without a value")
    return list(zip(items[::2], items[1::2], strict=True))


def _append(machine: _Machine, items: list[Node]) -> None:
    target = machine.stack[-1]
    if isinstance(target, list):
        cast(list[Node], target).extend(items)
    elif isinstance(target, Instance):
        target.appended.extend(items)
    else:
        raise ForeignFileError(f"expected a list to append to, found {type(target).__name__}")


def _set_items(machine: _Machine, pairs: list[tuple[Node, Node]]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, Pairs | Instance):
        raise ForeignFileError(f"expected a dict to put items into, found {type(target).__name__}")
    target.pairs.extend(pairs)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_items(machine, [(key, value)])


def _add_items(machine: _Machine) -> None:
    items = machine.pop_mark()
    target = machine.stack[-1]
    if isinstance(target, Items) and not target.frozen:
        target.items.extend(items)
    elif isinstance(target, Instance):
        target.appended.extend(items)
    else:
        raise ForeignFileError(f"expected a set to add to, found {type(target).__name__}")


def _global(machine: _Machine) -> None:
    module, name = machine.stream.line(), machine.stream.line()
    machine.push_global(text(module), text(name))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.push_global(module, name)


def _call(machine: _Machine) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Instance(function, arguments))


def _call_with_keywords(machine: _Machine) -> None:
    keywords, arguments, function = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Instance(function, arguments, keywords))


def _instance(machine: _Machine) -> None:
    items = machine.pop_mark()
    _global(machine)
    machine.stack.append(Instance(machine.stack.pop(), tuple(items)))


def _object(machine: _Machine) -> None:
    function, *items = machine.pop_mark() or [None]
    machine.stack.append(Instance(function, tuple(items)))


def _build(machine: _Machine) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if not isinstance(target, Instance):
        raise ForeignFileError(f"expected an object to give a state to, found {type(target).__name__}")
    target.states.append(state)


def _protocol(machine: _Machine) -> None:
    found = _number(machine, 1)
    if found > HIGHEST_PROTOCOL:
        raise ForeignFileError(f"expected a protocol of at most {HIGHEST_PROTOCOL}, found {found}")


def _push(make: Callable[[], Node]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make())


def _drop(value: object) -> None:
    """Take what an opcode leaves and no other needs."""


_STOP = ord(".")
STRUCTURE: dict[int, tuple[str, Callable[[_Machine], None]]] = {
    ord("("): ("MARK", _mark),
    ord("0"): ("POP", _pop),
    ord("1"): ("POP_MARK", lambda machine: _drop(machine.pop_mark())),
    ord("2"): ("DUP", lambda machine: machine.stack.append(machine.stack[-1])),
    ord("P"): ("PERSID", lambda machine: machine.push_reference(text(machine.stream.line()))),
    ord("Q"): ("BINPERSID", lambda machine: machine.push_reference(machine.stack.pop())),
    ord("]"): ("EMPTY_LIST", _push(list)),
    ord("}"): ("EMPTY_DICT", _push(Pairs)),
    ord(")"): ("EMPTY_TUPLE", _push(tuple)),
    0x8F: ("EMPTY_SET", _push(lambda: Items(False, []))),
    ord("l"): ("LIST", _marked_list),
    ord("d"): ("DICT", _marked_dict),
    ord("t"): ("TUPLE", _marked_tuple),
    0x91: ("FROZENSET", _marked_items),
    0x85: ("TUPLE1", lambda machine: _tuple(machine, 1)),
    0x86: ("TUPLE2", lambda machine: _tuple(machine, 2)),
    0x87: ("TUPLE3", lambda machine: _tuple(machine, 3)),
    ord("a"): ("APPEND", lambda machine: _append(machine, [machine.stack.pop()])),
    ord("e"): ("APPENDS", lambda machine: _append(machine, machine.pop_mark())),
    ord("s"): ("SETITEM", _set_item),
    ord("u"): ("SETITEMS", lambda machine: _set_items(machine, _paired(machine.pop_mark()))),
    0x90: ("ADDITEMS", _add_items),
    ord("g"): ("GET", lambda machine: machine.recall(decimal(machine.stream.line(), "GET"))),
    ord("h"): ("BINGET", lambda machine: machine.recall(_number(machine, 1))),
    ord("j"): ("LONG_BINGET", lambda machine: machine.recall(_number(machine, 4))),
    ord("p"): ("PUT", lambda machine: machine.memorize(decimal(machine.stream.line(), "PUT"))),
    ord("q"): ("BINPUT", lambda machine: machine.memorize(_number(machine, 1))),
    ord("r"): ("LONG_BINPUT", lambda machine: machine.memorize(_number(machine, 4))),
    0x94: ("MEMOIZE", lambda machine: machine.memorize(len(machine.memo))),
    ord("c"): ("GLOBAL", _global),
    0x93: ("STACK_GLOBAL", _stack_global),
    ord("R"): ("REDUCE", _call),
    0x81: ("NEWOBJ", _call),
    0x92: ("NEWOBJ_EX", _call_with_keywords),
    ord("i"): ("INST", _instance),
    ord("o"): ("OBJ", _object),
    ord("b"): ("BUILD", _build),
    0x80: ("PROTO", _protocol),
    # A frame is a hint about buffering: its length says nothing about the values.
    0x95: ("FRAME", lambda machine: _drop(machine.stream.take(8))),
}
