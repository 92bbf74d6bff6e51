"""Attacks that are opened: the file is read, nothing runs, and what would run is named."""

import os
import pickle
from pathlib import Path
from typing import Any

from attacks.assembly import array, call, group, legacy, mapping, name, number, program, tensor, text
from attacks.attack import SYSTEM, Attack, command, pickled, shell

# A module of Python's own that nothing here has imported; importing it prints.
UNTOUCHED = "this"
DESCRIPTION = {"class": "posix.system", "state": {"arguments": ("touch MARKER",)}}


class Exploit:
    """Run a command when unpickled, as tutorials show it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def plain_pickle(path: Path, marker: Path) -> None:
    """Pickle the exploit without any container."""
    path.write_bytes(pickle.dumps(Exploit(marker), 4))


def oldest_protocol(path: Path, marker: Path) -> None:
    """Write the exploit as text."""
    path.write_bytes(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")


def legacy_exploit(path: Path, marker: Path) -> None:
    """Put the exploit into the system information, before the value, and into the value."""
    value = program(call(SYSTEM, command(marker)))
    path.write_bytes(legacy(value, [], b""))


DESCRIBED = [
    Attack(
        "reduce",
        "the textbook: an object whose reduction is a shell command",
        shell(lambda argument: call(SYSTEM, argument)),
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "plain-pickle",
        "the same without a container, in protocol 4",
        plain_pickle,
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "oldest-protocol",
        "the same as text of protocol 0, which has no mark by which it is known",
        oldest_protocol,
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "legacy",
        "the same in the format of before PyTorch 1.6",
        legacy_exploit,
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "stack-global",
        "the names are texts on the stack, so that no scan for GLOBAL finds them",
        shell(lambda argument: text("posix") + text("system") + b"\x93" + group(argument) + b"R"),
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "inst",
        "the opcode INST calls a class in one step",
        shell(lambda argument: b"(" + argument + b"iposix\nsystem\n"),
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "obj",
        "the opcode OBJ calls what lies below its arguments",
        shell(lambda argument: b"(" + SYSTEM + argument + b"o"),
        suspicious=("posix.system",),
        tree=DESCRIPTION,
    ),
    Attack(
        "newobj-ex",
        "a class is called with keywords",
        shell(lambda argument: name("subprocess", "Popen") + b")" + mapping({"args": argument}) + b"\x92"),
        suspicious=("subprocess.Popen",),
        tree={"class": "subprocess.Popen", "state": {"keywords": {"args": "touch MARKER"}}},
    ),
    Attack(
        "nested",
        "getattr finds the function, so that the file names only harmless modules",
        shell(lambda argument: call(call(name("builtins", "getattr"), name("os", "path"), text("system")), argument)),
        suspicious=("builtins.getattr", "os.path"),
        tree={"class": "the result of builtins.getattr", "state": {"arguments": ("touch MARKER",)}},
    ),
    Attack(
        "eval",
        "a built-in compiles a text",
        shell(lambda argument: call(name("__builtin__", "eval"), argument)),
        suspicious=("builtins.eval",),
        tree={"class": "builtins.eval", "state": {"arguments": ("touch MARKER",)}},
    ),
    Attack(
        "import-alone",
        "nothing is called: importing the named module is the attack",
        pickled(name(UNTOUCHED, "s")),
        suspicious=("this.s",),
        tree={"class": "this.s", "state": None},
    ),
    Attack(
        "build",
        "the state of an object calls its __setstate__, or overwrites its class",
        pickled(name("http.cookies", "Morsel") + b")\x81" + mapping({"__class__": name("os", "system")}) + b"b"),
        suspicious=("http.cookies.Morsel", "os.system"),
        tree={"class": "http.cookies.Morsel", "state": {"__class__": {"class": "os.system", "state": None}}},
    ),
    Attack(
        "dropped",
        "the call's result is popped, so that the value is an honest one",
        shell(lambda argument: call(SYSTEM, argument) + b"0" + mapping({"step": number(1)})),
        suspicious=("posix.system",),
        tree={"step": 1},
    ),
    Attack(
        "in-hooks",
        "the call hides in the argument of a tensor that readers ignore",
        shell(lambda argument: tensor(hooks=call(SYSTEM, argument))),
        suspicious=("posix.system",),
    ),
    Attack(
        "as-key",
        "the call is the key of a dict",
        shell(lambda argument: b"}" + call(SYSTEM, argument) + number(1) + b"s"),
        suspicious=("posix.system",),
        tree={"posix.system": 1},
    ),
    Attack(
        "memo",
        "a memo index of 4 billion, for which C implementations allocate a table",
        pickled(number(7) + b"r\xff\xff\xff\xff"),
        tree=7,
    ),
    Attack(
        "cycle",
        "a list that contains itself",
        pickled(b"]q\x00h\x00a"),
        tree=["<the value 1 levels up, which contains this one>"],
    ),
    Attack(
        "collisions",
        "keys of one hash value, for which a dict takes quadratic time",
        pickled(b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(1, 10)) + b"u"),
        tree={i * (2**61 - 1): None for i in range(1, 5)} | {str(i * (2**61 - 1)): None for i in range(5, 10)},
    ),
    Attack(
        "objects-in-array",
        "an array of objects is a pickle within the pickle",
        shell(lambda argument: array("O8", (1,), b"](" + call(SYSTEM, argument) + b"e")),
        suspicious=("posix.system",),
    ),
]
