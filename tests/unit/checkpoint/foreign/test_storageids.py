"""Persistent ids are read strictly."""

import pytest

from milepost.checkpoint.foreign.nodes import Global, Node
from milepost.checkpoint.foreign.storageids import StorageId, is_class_id, read_storage_id
from milepost.errors import ForeignFileError

FLOAT = Global("torch", "FloatStorage")


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (("storage", FLOAT, "0", "cpu", 3), StorageId("0", "float32", 3)),
        (("storage", Global("torch.cuda", "HalfStorage"), "12", "cuda:0", 0), StorageId("12", "float16", 0)),
        (("storage", Global("torch.storage", "UntypedStorage"), "1", "cpu", 8), StorageId("1", "uint8", 8)),
        (("storage", FLOAT, "7", "cpu", 3, None), StorageId("7", "float32", 3)),
        (("storage", FLOAT, "7", "cpu", 3, ("8", 1, 2)), StorageId("7", "float32", 3, ("8", 1, 2))),
    ],
)
def test_ids_of_storages(node: Node, expected: StorageId) -> None:
    assert read_storage_id(node) == expected


def test_the_size_is_in_bytes() -> None:
    assert StorageId("0", "complex128", 3).size == 48


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (None, "expected the persistent id of a storage"),
        (("storage", FLOAT, "0", "cpu"), "expected the persistent id of a storage"),
        (("module", FLOAT, "0", "cpu", 3), "expected the persistent id of a storage"),
        (("storage", Global("os", "FloatStorage"), "0", "cpu", 3), "of storages, found os.FloatStorage"),
        (("storage", Global("torch", "load"), "0", "cpu", 3), "expected a class of storages, found torch.load"),
        (("storage", "FloatStorage", "0", "cpu", 3), "expected a class of storages, found str"),
        (("storage", FLOAT, "a", "cpu", 3), "expected digits as the key of a storage"),
        (("storage", FLOAT, "1" * 65, "cpu", 3), "expected digits as the key of a storage"),
        (("storage", FLOAT, 0, "cpu", 3), "expected digits as the key of a storage"),
        (("storage", FLOAT, "0", "cpu", -1), "storage 0: expected a number of elements, found another value"),
        (("storage", FLOAT, "0", "cpu", True), "storage 0: expected a number of elements, found another value"),
        (("storage", FLOAT, "0", "cpu", 3, ("8", -1, 2)), "as the view of a storage"),
        (("storage", FLOAT, "0", "cpu", 3, "8"), "as the view of a storage"),
    ],
)  # fmt: skip
def test_other_ids_are_refused(node: Node, reason: str) -> None:
    with pytest.raises(ForeignFileError, match=reason):
        read_storage_id(node)


def test_ids_of_classes() -> None:
    assert is_class_id(("module", Global("a", "b"), "file.py", "source"))
    assert not is_class_id(("storage", FLOAT, "0", "cpu"))
    assert not is_class_id("module")
