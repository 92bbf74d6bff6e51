"""Each kind of error of the system has one instruction."""

import errno
import os
from pathlib import Path

import pytest

from milepost.archive.advice import advice_on

PATH = Path("/runs/a/step-1.ckpt")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOENT, "Create the folder '/runs/a' first."),
        (errno.ENAMETOOLONG, "Choose a shorter name."),
        (errno.EISDIR, "Choose another name: a folder has this one."),
        (errno.EACCES, "Choose a folder that you may write to."),
        (errno.EROFS, "Choose a folder that you may write to."),
        (errno.ENOSPC, "Free space there, then save again."),
        (errno.EDQUOT, "Free space there, then save again."),
        (errno.EIO, "Save to another device; this one, or the way to it, is failing."),
        (errno.EMFILE, "Close files that are no longer needed, or raise the limit (`ulimit -n`)."),
        (None, "Save again, to another folder if this one keeps failing."),
    ],
)
def test_the_instruction_fits_the_error(number: int | None, advice: str) -> None:
    assert advice_on(number, PATH) == advice


def test_every_error_of_the_system_has_one_sentence() -> None:
    for number in errno.errorcode:
        advice = advice_on(number, PATH)
        assert advice.endswith("."), os.strerror(number)
        assert ". " not in advice
        assert "{" not in advice


def test_a_folder_with_braces_is_named_as_it_is() -> None:
    assert advice_on(errno.ENOENT, Path("/{folder}/{x}/a")) == "Create the folder '/{folder}/{x}' first."
