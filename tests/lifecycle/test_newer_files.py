"""A checkpoint of a newer version stops a run before it starts: it is neither passed over nor replaced."""

from pathlib import Path

import pytest

from lifecycle.runs import write_run
from milepost.checkpoint import checkpoint_name
from milepost.errors import OverwriteError, UnsupportedVersionError
from milepost.model import find_architecture
from milepost.options import load_options
from milepost.run import Reporter, Request, train
from milepost.run.advancing import Advance


class Quiet(Reporter):
    def say(self, message: str) -> None:
        pass


def run(folder: Path, restart: str | None) -> Path:
    architecture = find_architecture("cairn")
    options = load_options(folder / "options.yaml", architecture.options_class(), ("architecture.training.epochs=2",))
    return train(Request(options, architecture, folder, folder / "model.ckpt", restart), Quiet()).directory


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train until an error that is none of the run's stops it; return the folder of its checkpoints."""
    write_run(tmp_path)
    taken = Advance.__call__
    left = iter(range(8))

    def failing(self: Advance, *arguments: object) -> object:
        if next(left, None) is None:
            raise InterruptedError("the machine is taken away")
        return taken(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Advance, "__call__", failing)
        with pytest.raises(InterruptedError):
            run(tmp_path, None)
    (folder,) = (tmp_path / "outputs").glob("*/*/checkpoints")
    assert sorted(path.name for path in folder.glob("*.ckpt")) == [checkpoint_name(5), checkpoint_name(6)]
    return folder


def newer(path: Path) -> bytes:
    path.write_bytes(path.read_bytes().replace(b"milepost-archive 0001", b"milepost-archive 0002"))
    return path.read_bytes()


def test_a_run_with_a_newer_file_is_refused_with_what_to_install(tmp_path: Path, stopped: Path) -> None:
    content = newer(stopped / checkpoint_name(6))
    for restart in ("auto", str(stopped / checkpoint_name(5))):
        with pytest.raises(UnsupportedVersionError, match=rf"{checkpoint_name(6)}.*[Ii]nstall .*milepost"):
            run(tmp_path, restart)
    assert (stopped / checkpoint_name(6)).read_bytes() == content
    assert not (tmp_path / "model.ckpt").exists()


def test_a_newer_file_that_comes_while_the_run_goes_on_is_not_replaced(
    tmp_path: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import milepost.run.resume

    content = newer(stopped / checkpoint_name(6))
    monkeypatch.setattr(milepost.run.resume, "check_versions", lambda *given: None)
    with pytest.raises(UnsupportedVersionError, match="could not replace"):
        run(tmp_path, str(stopped / checkpoint_name(5)))
    assert (stopped / checkpoint_name(6)).read_bytes() == content


def test_a_newer_model_under_the_given_name_is_not_replaced(tmp_path: Path, stopped: Path) -> None:
    output = tmp_path / "model.ckpt"
    output.write_bytes((stopped / checkpoint_name(6)).read_bytes())
    newer(output)
    with pytest.raises(OverwriteError, match="found a file of a newer version"):
        run(tmp_path, "auto")
