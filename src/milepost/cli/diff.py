"""`milepost diff`: what two files have that differs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from milepost.cli.terminal import say, visible

if TYPE_CHECKING:
    from milepost.checkpoint.comparing import Comparison, TensorDifference
    from milepost.options import Difference

DIFFERENT = 1
"""Exit status where something differs."""
TROUBLE = 2
"""Exit status where the files could not be compared."""


@click.command("diff")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(a: Path, b: Path, as_json: bool) -> int:
    """Compare the files A and B: checkpoints, or whatever else `show` describes.

    Of checkpoints, options, metadata, record, environment, versions, files and plain values are compared by key;
    tensors by digest, and those that differ also by their values. Of two files of another program, tensors and metadata
    are compared; of files of different kinds the weights, as `convert` takes them. The status is 0 where nothing
    differs, 1 where something does, 2 where the files could not be compared.
    """
    from milepost.cli.main import explained
    from milepost.errors import MilepostError

    try:
        from milepost.checkpoint.comparing_tensors import compare_files

        found = compare_files(a, b)
    except (MilepostError, OSError) as error:
        say(f"error: {explained(error)}", err=True)
        return TROUBLE
    if as_json:
        say(json.dumps({"a": str(a), "b": str(b), **document(found)}, indent=2, ensure_ascii=False))
    else:
        sides = found.compared or ("", "")
        files = [
            f"{name}: {path}{f', {what}' if what else ''}" for name, path, what in zip("ab", (a, b), sides, strict=True)
        ]
        say("\n".join(map(visible, [*files, *page(found)])))
    return 0 if found.equal else DIFFERENT


def page(found: "Comparison") -> Iterator[str]:
    """Write what differs for people, section by section."""
    if found.equal:
        yield f"nothing differs; {_tensors(found.equal_tensors)} equal"
        return
    for section, differences in found.sections.items():
        if differences:
            yield from ("", section)
            yield from (f"  {_file(each) if section == 'files' else each}" for each in differences)
    if found.only_in_a or found.only_in_b:
        yield from ("", "components")
        yield from (f"  {name}: only in a" for name in found.only_in_a)
        yield from (f"  {name}: only in b" for name in found.only_in_b)
    yield from ("", f"tensors: {_tensors(found.equal_tensors)} equal, {len(found.tensors)} not")
    yield from (f"  {_tensor(each)}" for each in found.tensors)


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"


def _file(difference: "Difference") -> str:
    """Say of which side a file is: its digest tells people nothing."""
    from milepost.options import ABSENT

    if difference.old is ABSENT:
        return f"{difference.key}: only in b"
    return f"{difference.key}: {'only in a' if difference.new is ABSENT else 'differs'}"


def _tensor(difference: "TensorDifference") -> str:
    name = _name(difference)
    if difference.a is None:
        return f"{name}: only in b, {difference.b}"
    if difference.b is None:
        return f"{name}: only in a, {difference.a}"
    if difference.distance is None:
        return f"{name}: {difference.a} → {difference.b}"
    found = difference.distance
    if not found.count:
        return f"{name}: equal numbers in different bytes (the sign of a zero, or NaNs)"
    return (
        f"{name}: {found.count:,} of {found.total:,} numbers differ, by at most {found.absolute:.3g}, "
        f"relative {found.relative:.3g}"
    )


def _name(difference: "TensorDifference") -> str:
    return ".".join(part for part in (difference.component, difference.name) if part)


def document(found: "Comparison") -> dict[str, Any]:
    """Return what differs as JSON values; a side that does not have a key is left out."""
    from milepost.cli.show import finite

    fields = {
        "equal": found.equal,
        **{section: [_sides(each) for each in differences] for section, differences in found.sections.items()},
        "components": {"only_in_a": found.only_in_a, "only_in_b": found.only_in_b},
        "tensors": [_tensor_fields(each) for each in found.tensors],
        "equal_tensors": found.equal_tensors,
    }
    if found.compared is not None:
        fields["compared"] = dict(zip("ab", found.compared, strict=True))
    plain: dict[str, Any] = finite(fields)
    return plain


def _sides(difference: "Difference") -> dict[str, Any]:
    from milepost.options import ABSENT

    sides = {"a": difference.old, "b": difference.new}
    return {"key": difference.key, **{side: value for side, value in sides.items() if value is not ABSENT}}


def _tensor_fields(difference: "TensorDifference") -> Mapping[str, Any]:
    forms = {"a": difference.a, "b": difference.b}
    fields: dict[str, Any] = {"name": _name(difference)}
    fields |= {side: {"dtype": form.dtype, "shape": form.shape} for side, form in forms.items() if form is not None}
    if difference.distance is not None:
        found = difference.distance
        fields |= {"differing": found.count, "numbers": found.total}
        fields |= {"absolute": found.absolute, "relative": found.relative}
    return fields
