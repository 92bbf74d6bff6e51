"""Records become plain values, within bounds of depth and size."""

from typing import Any

import pytest

from milepost.checkpoint.foreign.allowed import MEANINGS, NAMES
from milepost.checkpoint.foreign.leaves import InlineTensor
from milepost.checkpoint.foreign.nodes import Global, Instance, Items, Node, Pairs, Reference
from milepost.checkpoint.foreign.plain import MAX_DEPTH, Plain, bytes_of, name_of
from milepost.errors import ForeignFileError

SOME = Global("some.module", "Class")


def refuse(key: Node) -> Node:
    raise ForeignFileError("no storages here")


def plain(node: Node, budget: int = 10_000) -> Any:
    return Plain(budget, refuse, MEANINGS, NAMES).tree(node)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (None, None),
        ([1, (True, "a")], [1, (True, "a")]),
        (b"\x01", {"class": "builtins.bytes", "state": "01"}),
        (SOME, {"class": "some.module.Class", "state": None}),
        (Global("torch", "float32"), "torch.float32"),
        (Pairs([("a", 1), (2, Pairs())]), {"a": 1, 2: {}}),
        (Pairs([("a", 1), ("a", 2)]), {"a": 2}),
        (Items(False, [1]), {"class": "builtins.set", "state": [1]}),
        (Instance(SOME, ()), {"class": "some.module.Class", "state": None}),
        (Instance(SOME, (), None, [Pairs([("x", 1)])]), {"class": "some.module.Class", "state": {"x": 1}}),
        (Instance(SOME, (1,)), {"class": "some.module.Class", "state": {"arguments": (1,)}}),
        (
            Instance(SOME, (1,), Pairs([("k", 2)]), ["s", "t"], [3], [("a", 4)]),
            {
                "class": "some.module.Class",
                "state": {
                    "arguments": (1,), "keywords": {"k": 2}, "attributes": "s", "attributes~2": "t", "items": [3],
                    "entries": {"a": 4},
                },
            },
        ),
    ],
)  # fmt: skip
def test_values(node: Node, expected: Any) -> None:
    assert plain(node) == expected


def test_keys_that_are_no_texts_or_integers_stay_apart() -> None:
    keys = [
        None,
        "None",
        True,
        1,
        2.5,
        (1, ("a", b"x")),
        (1, ("a", b"x")),
        2**64,
        2**63,
        2**63 - 1,
        SOME,
        Instance(SOME, ()),
        Items(True, []),
    ]
    found = plain(Pairs([(key, index) for index, key in enumerate(keys)]))
    assert list(found) == [
        "None", "True", 1, "2.5", "(1, (a, b'x'))", "(1, (a, b'x'))~2", str(2**64), str(2**63), 2**63 - 1,
        "some.module.Class", "some.module.Class~2", "Items",
    ]  # fmt: skip
    assert found["None"] == 1


def test_shared_values_are_written_out_each_time() -> None:
    shared = [1]
    found = plain([shared, shared])
    assert found == [[1], [1]]
    assert found[0] is not found[1]


def test_one_tensor_stays_one() -> None:
    array = Instance(Global("numpy._core.multiarray", "_reconstruct"), ())
    dtype = Instance(Global("numpy", "dtype"), ("u1", False, True), None, [(3, "|")])
    array.states.append((1, (2,), dtype, False, b"ab"))
    found = plain([array, Pairs([("again", array)])])
    assert isinstance(found[0], InlineTensor)
    assert found[1]["again"] is found[0]


def test_what_contains_itself_is_said_to() -> None:
    node = Instance(SOME, ())
    node.states.append(Pairs([("parent", node), ("children", [node])]))
    assert plain(node)["state"] == {
        "parent": "<the value 2 levels up, which contains this one>",
        "children": ["<the value 3 levels up, which contains this one>"],
    }


def nested(depth: int) -> Node:
    node: Node = 1
    for _ in range(depth):
        node = [node]
    return node


def test_depth_has_a_bound() -> None:
    plain(nested(MAX_DEPTH))
    with pytest.raises(ForeignFileError, match=f"expected at most {MAX_DEPTH} levels of nesting, found more"):
        plain(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("wrap", [
    lambda node: Instance(Global("torch._utils", "_rebuild_parameter"), (node, False, None)),
    lambda node: Instance(SOME, (), None, [node]),
    lambda node: Instance(Global("torch.serialization", "_get_layout"), (node,)),
])  # fmt: skip
def test_depth_is_counted_where_the_place_does_not_change(wrap: Any) -> None:
    node: Node = 1
    for _ in range(10_000):
        node = wrap(node)
    with pytest.raises(ForeignFileError, match="levels of nesting, found more"):
        plain(node)


def test_size_has_a_bound() -> None:
    plain([1] * 99, budget=100)
    with pytest.raises(ForeignFileError, match="written out, the shared values of the file are many times its size"):
        plain([1] * 100, budget=100)


@pytest.mark.parametrize("node", ["x" * 6500, b"x" * 6500, Pairs([("x" * 6500, 1)]), Pairs([((1,) * 100, 1)])])
def test_long_texts_and_keys_count(node: Node) -> None:
    plain(node, budget=210)
    with pytest.raises(ForeignFileError, match="many times its size"):
        plain(node, budget=100)


def test_errors_name_the_place() -> None:
    size = Instance(Global("torch", "Size"), ((1, "x"),))
    with pytest.raises(ForeignFileError, match=r"^at 'a\.0': expected at most 64 integers"):
        plain(Pairs([("a", [size])]))


def test_a_reference_is_what_it_refers_to() -> None:
    found = Plain(100, lambda key: ["class", key], MEANINGS, NAMES).tree(Reference("k"))
    assert found == ["class", "k"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (b"a", b"a"),
        (Instance(Global("_codecs", "encode"), ("\xff", "latin1")), b"\xff"),
        (Instance(Global("_codecs", "encode"), ("\u0100", "latin1")), None),
        (Instance(Global("builtins", "bytes"), ()), b""),
        (Instance(Global("builtins", "bytearray"), (b"a",)), b"a"),
        (Instance(Global("builtins", "bytearray"), ("\xff", "latin-1")), b"\xff"),
        (Instance(Global("builtins", "bytearray"), (Instance(Global("_codecs", "encode"), ("a", "latin1")),)), b"a"),
        (Instance(Global("builtins", "bytes"), (5,)), None),
        (Instance(SOME, (b"a",)), None),
        (5, None),
    ],
)
def test_bytes_in_all_their_forms(node: Node, expected: bytes | None) -> None:
    assert bytes_of(node) == expected


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (Instance(SOME, ()), "some.module.Class"),
        (Instance(Global("copyreg", "_reconstructor"), (SOME, None, None)), "some.module.Class"),
        (Instance(Instance(SOME, ()), ()), "the result of some.module.Class"),
        (Instance(5, ()), "an object without a class"),
    ],
)
def test_objects_have_names(instance: Instance, expected: str) -> None:
    assert name_of(instance) == expected
