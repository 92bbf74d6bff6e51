"""A file that a run begins with is opened, wherever it lies, and its weights put where they belong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import ResumeError, StateMismatchError
from milepost.options import CourseOptions, RootOptions
from milepost.run import loadcheck
from milepost.run.loadcheck import given_file

MAMMOTH = Path(__file__).parents[2] / "compat" / "foreign" / "mammoth-er-safe.pt"


def options(name: str | None) -> RootOptions:
    return RootOptions.model_validate({"architecture": {"name": "x"}, "course": CourseOptions(loadcheck=name)})


def test_no_file_is_named(tmp_path: Path) -> None:
    with given_file(options(None), tmp_path) as given:
        assert given is None


def test_a_checkpoint_of_a_run_is_whole(tmp_path: Path) -> None:
    parts = {"model": {"w": torch.ones(1)}, "optimizer": {}, "position": {}, "facts": {}, "split": {}}
    save_checkpoint(tmp_path / "a.ckpt", parts, durability="process")
    with given_file(options("a.ckpt"), tmp_path) as given, load_checkpoint(tmp_path / "a.ckpt") as opened:
        assert given is not None
        assert (given.whole, given.foreign, given.digest, given.where) == (True, None, opened.digest, "a.ckpt")


def test_a_checkpoint_of_weights_alone_is_not(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    save_checkpoint(tmp_path / "a.ckpt", {"model": {"module.weight": torch.ones(1, 2)}}, durability="process")
    with given_file(options("a.ckpt"), tmp_path) as given:
        assert given is not None
        assert not given.whole
        lines = list(given.put_weights(model))
    assert lines == [
        f"beginning with 'a.ckpt' ({given.digest[:19]}…)",
        "loaded: 1 of 2 tensors",
        "not loaded, the file has none: 'bias'",
    ]
    assert model.weight.tolist() == [[1.0, 1.0]]


def test_mammoth_s_backbone_is_found(tmp_path: Path) -> None:
    model = nn.ModuleDict({"fc1": nn.Linear(784, 4), "fc2": nn.Linear(4, 4), "classifier": nn.Linear(4, 10)})
    with given_file(options(str(MAMMOTH)), tmp_path) as given:
        assert given is not None
        assert given.foreign is not None
        assert list(given.put_weights(model))[1:] == ["loaded: 6 of 6 tensors"]
        expected = given.foreign.tensors()["model.net.fc2.bias"]
    assert torch.equal(model["fc2"].bias, expected)  # type: ignore[arg-type]


def test_a_file_from_the_web_is_named_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "fetched")
    asked: list[str] = []

    @contextmanager
    def fetched(address: str) -> Iterator[Path]:
        asked.append(address)
        yield tmp_path / "fetched"

    monkeypatch.setattr(loadcheck, "downloaded", fetched)
    with given_file(options("https://h/a.pt?download=true"), tmp_path) as given:
        assert given is not None
        assert given.where == "https://h/a.pt"
    assert asked == ["https://h/a.pt?download=true"]


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    before = model.weight.clone()
    torch.save({"weight": torch.ones(3, 2)}, tmp_path / "a.pt")
    with given_file(options("a.pt"), tmp_path) as given:
        assert given is not None
        with pytest.raises(StateMismatchError) as caught:
            list(given.put_weights(model))
    assert str(caught.value) == (
        "could not begin with 'a.pt', none of whose tensors fits:\n"
        "  mismatched: 'weight': expected float32 (1, 2), found float32 (3, 2)\n"
        "Build the model as it was built for the file, or give another file."
    )
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, number: float) -> None:
    """The first batch would be blamed for them."""
    model = nn.Linear(2, 1)
    torch.save({"weight": torch.tensor([[1.0, number]]), "bias": torch.ones(1)}, tmp_path / "a.pt")
    with given_file(options("a.pt"), tmp_path) as given:
        assert given is not None
        with pytest.raises(StateMismatchError, match=r"'a.pt': expected finite weights, .* in weight\. Give"):
            list(given.put_weights(model))
    assert model.weight.isfinite().all()


@pytest.mark.parametrize(
    ("name", "found"), [("none.pt", "expected a file, found none"), ("a.txt", "found something else"), (".", "else")]
)
def test_what_is_no_such_file(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with (
        pytest.raises(ResumeError, match=f"could not begin with '{name}': .*{found}"),
        given_file(options(name), tmp_path),
    ):
        pass
