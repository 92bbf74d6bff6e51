"""A run that was stopped and resumed ends as one that never was: weights, optimizer, scheduler, random states.

The oracle is one `fit` that was left alone.
"""

import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import AsyncCheckpointIO
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, IterableDataset

from milepost.checkpoint import load_checkpoint
from milepost.errors import StateMismatchError
from milepost.lightning import ExactResume, MilepostCheckpointIO

EPOCHS = 4
LAST = f"epoch={EPOCHS - 1}-step={EPOCHS * 5}.ckpt"


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


class Noisy(Dataset[Any]):
    """Examples that draw from every global generator when they are read."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        noise = random.random() + np.random.random() + torch.rand(3)
        return torch.full((3,), index / 20) + 0.1 * noise, torch.tensor([index / 10])


def fitted(
    folder: Path,
    tiny: Any,
    make_trainer: Any,
    train: Any,
    validate: Any = None,
    *,
    epochs: int = EPOCHS,
    steps: int | None = None,
    path: Path | None = None,
    **arguments: Any,
) -> Any:
    """Fit a new module, from the beginning or from a file, and save it at every epoch's end or after `steps`."""
    seed(1 if path is None else 77)
    keep = ModelCheckpoint(dirpath=folder, filename="{epoch}-{step}", save_top_k=-1, every_n_train_steps=steps)
    end = ModelCheckpoint(dirpath=folder / "end", filename="{epoch}-{step}", save_top_k=-1, every_n_epochs=EPOCHS)
    resume = ExactResume()
    trainer = make_trainer(folder, epochs=epochs, callbacks=(resume, keep, end), **arguments)
    trainer.fit(tiny(), train, validate, ckpt_path=path)
    return resume


def state(path: Path) -> dict[str, bytes]:
    """Return everything that the next step depends on, as bytes by name."""
    found: dict[str, bytes] = {}
    with load_checkpoint(path) as checkpoint:
        for component in ("model", "optimizer_states", "lr_schedulers"):
            found |= {f"{component}.{row.name}": row.digest.encode() for row in checkpoint.tensor_table(component)}
        found["schedule"] = repr(checkpoint.state("lr_schedulers")).encode()
        loops = checkpoint.state("loops")["fit_loop"]
        found["steps"] = repr(loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]).encode()
        found["steps that loggers count"] = repr(loops["epoch_loop.state_dict"]).encode()
        found["epochs"] = repr(loops["epoch_progress"]["total"]).encode()
        now = checkpoint.state("callbacks")["ExactResume"]["processes"][0]["now"]
        for name in ("python", "numpy", "torch"):
            found[f"generator of {name}"] = repr(
                {key: value.tolist() if hasattr(value, "tolist") else value for key, value in now[name].items()}
                if isinstance(now[name], dict)
                else now[name].tolist()
            ).encode()
    return found


def differing(first: Path, second: Path) -> list[str]:
    one, other = state(first), state(second)
    return [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]


@pytest.mark.parametrize("validating", [False, True])
@pytest.mark.parametrize("epoch", [1, 3])
def test_from_an_epochs_end(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, epoch: int, validating: bool
) -> None:
    validation = make_loader(shuffle=False) if validating else None
    alone, again = tmp_path / "alone", tmp_path / "again"
    fitted(alone, tiny, make_trainer, make_loader(), validation)
    path = alone / f"epoch={epoch - 1}-step={5 * epoch}.ckpt"
    fitted(again, tiny, make_trainer, make_loader(), validation, path=path)
    assert differing(alone / "end" / LAST, again / "end" / LAST) == []


def test_without_the_random_state_it_would_differ(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    fitted(alone, tiny, make_trainer, make_loader())
    monkeypatch.setattr("milepost.lightning.resuming._restore", lambda *_: None)
    fitted(again, tiny, make_trainer, make_loader(), path=alone / "epoch=1-step=10.ckpt")
    assert "model.layers.0.weight" in differing(alone / "end" / LAST, again / "end" / LAST)


@pytest.mark.parametrize(
    ("step", "validating"),
    [(1, True), (3, True), (5, True), (5, False), (7, True), (9, False), (10, False), (16, True)],
)
def test_from_the_middle_of_an_epoch(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, step: int, validating: bool
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    validation = make_loader(shuffle=False) if validating else None
    fitted(alone, tiny, make_trainer, make_loader(), validation, steps=1)
    path = next(alone.glob(f"epoch=*-step={step}.ckpt"))
    fitted(again, tiny, make_trainer, make_loader(), validation, steps=1, path=path)
    assert differing(alone / "end" / LAST, again / "end" / LAST) == []


@pytest.mark.parametrize("step", [2, 8])
def test_from_the_middle_of_an_epoch_of_noisy_data(tmp_path: Path, tiny: Any, make_trainer: Any, step: int) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"

    def data() -> DataLoader[Any]:
        return DataLoader(Noisy(), batch_size=4, shuffle=True)

    fitted(alone, tiny, make_trainer, data(), steps=1)
    path = next(alone.glob(f"epoch=*-step={step}.ckpt"))
    fitted(again, tiny, make_trainer, data(), steps=1, path=path)
    assert differing(alone / "end" / LAST, again / "end" / LAST) == []


@pytest.mark.parametrize(("every", "step"), [(None, 10), (1, 7)])
def test_a_loader_with_a_generator_of_its_own_goes_on(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, every: int | None, step: int
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    fitted(alone, tiny, make_trainer, make_loader(generator=torch.Generator().manual_seed(3)), steps=every)
    path = next(alone.glob(f"epoch=*-step={step}.ckpt"))
    fitted(again, tiny, make_trainer, make_loader(generator=torch.Generator().manual_seed(3)), steps=every, path=path)
    assert differing(alone / "end" / LAST, again / "end" / LAST) == []


@pytest.mark.parametrize(("every", "step"), [(None, 10), (1, 7), (1, 10)])
def test_a_run_of_so_many_steps(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, every: int | None, step: int
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    fitted(alone, tiny, make_trainer, make_loader(), steps=every, epochs=-1, max_steps=20)
    path = next(alone.glob(f"epoch=*-step={step}.ckpt"))
    fitted(again, tiny, make_trainer, make_loader(), steps=every, epochs=-1, max_steps=20, path=path)
    assert differing(alone / LAST, again / LAST) == []


def test_stopped_again_and_again(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    alone = tmp_path / "alone"
    first = fitted(alone, tiny, make_trainer, make_loader(), steps=1)
    path = alone / "epoch=0-step=2.ckpt"
    for number, step in enumerate((4, 7, 8, 13)):
        folder = tmp_path / str(number)
        resume = fitted(folder, tiny, make_trainer, make_loader(), steps=1, path=path)
        assert resume.run_id == first.run_id
        path = next(folder.glob(f"epoch=*-step={step}.ckpt"))
        assert differing(path, next(alone.glob(f"epoch=*-step={step}.ckpt"))) == []
    with load_checkpoint(path) as checkpoint:
        assert checkpoint.record.run_id == first.run_id


@pytest.mark.parametrize("step", [7, 8, 9])
def test_from_the_middle_with_validation_inside_the_epoch(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, step: int
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    settings = {"steps": 1, "val_check_interval": 2}
    fitted(alone, tiny, make_trainer, make_loader(), make_loader(shuffle=False), **settings)
    path = alone / f"epoch=1-step={step}.ckpt"
    fitted(again, tiny, make_trainer, make_loader(), make_loader(shuffle=False), path=path, **settings)
    assert differing(alone / LAST, again / LAST) == []


def test_a_test_of_another_file_changes_nothing(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    fitted(tmp_path, tiny, make_trainer, make_loader(), epochs=1)
    seed(5)
    wanted = torch.rand(1)
    resume = ExactResume()
    own = resume.run_id
    trainer = make_trainer(tmp_path, callbacks=(resume,), enable_checkpointing=False)
    seed(5)
    trainer.validate(tiny(), make_loader(shuffle=False), ckpt_path=tmp_path / "epoch=0-step=5.ckpt", verbose=False)
    assert resume.run_id == own
    seed(5)
    assert torch.rand(1) == wanted


def test_a_file_without_random_states_is_refused_unless_asked_for(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    keep = ModelCheckpoint(dirpath=tmp_path)
    make_trainer(tmp_path, epochs=1, callbacks=(keep,)).fit(tiny(), make_loader())
    path = tmp_path / "epoch=0-step=5.ckpt"
    with pytest.raises(StateMismatchError, match=r"expected the random states .*found none\..*strict=False"):
        make_trainer(tmp_path, epochs=2).fit(tiny(), make_loader(), ckpt_path=path)
    lenient = (ExactResume(strict=False), ModelCheckpoint(dirpath=tmp_path))
    make_trainer(tmp_path, epochs=2, callbacks=lenient).fit(tiny(), make_loader(), ckpt_path=path)


def test_another_number_of_processes_is_refused_unless_asked_for(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.lightning.resuming._gathered", lambda own, count: [own, own])
    make_trainer(tmp_path, epochs=1).fit(tiny(), make_loader())
    path = tmp_path / "epoch=0-step=5.ckpt"
    with pytest.raises(StateMismatchError, match="expected 2 processes, as saved, found 1"):
        make_trainer(tmp_path, epochs=2).fit(tiny(), make_loader(), ckpt_path=path)
    lenient = (ExactResume(strict=False), ModelCheckpoint(dirpath=tmp_path))
    make_trainer(tmp_path, epochs=2, callbacks=lenient).fit(tiny(), make_loader(), ckpt_path=path)


def test_a_plug_in_around_ours_is_refused(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    plugin = AsyncCheckpointIO(MilepostCheckpointIO())
    with pytest.raises(ValueError, match="expected MilepostCheckpointIO by itself, found it in AsyncCheckpointIO"):
        make_trainer(tmp_path, plugin=plugin).fit(tiny(), make_loader())


def test_it_works_with_lightnings_own_files(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    from lightning.pytorch.plugins import TorchCheckpointIO

    alone, again = tmp_path / "alone", tmp_path / "again"
    fitted(alone, tiny, make_trainer, make_loader(), steps=1)
    fitted(again, tiny, make_trainer, make_loader(), steps=1, plugin=TorchCheckpointIO())
    found = torch.load(again / "end" / LAST, weights_only=True)["state_dict"]
    with load_checkpoint(alone / "end" / LAST) as checkpoint:
        wanted = checkpoint.state("model")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class Stream(IterableDataset[Any]):
    """A stream that is gone once it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def __iter__(self) -> Any:
        self.reads += 1
        for index in range(20):
            yield torch.full((3,), index / 20), torch.tensor([index / 10])


def test_a_stream_is_not_read_more_often_than_lightning_does(tmp_path: Path, tiny: Any, make_trainer: Any) -> None:
    stream, plain = Stream(), Stream()
    fitted(tmp_path / "ours", tiny, make_trainer, DataLoader(stream, batch_size=4), epochs=2)
    keep = ModelCheckpoint(dirpath=tmp_path / "plain")
    make_trainer(tmp_path, epochs=2, callbacks=(keep,)).fit(tiny(), DataLoader(plain, batch_size=4))
    assert stream.reads == plain.reads


def test_without_replay_the_generators_are_restored_all_the_same(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    callbacks = (ExactResume(replay=False), ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=3, save_top_k=-1))
    make_trainer(tmp_path, epochs=1, callbacks=callbacks).fit(tiny(), make_loader())
    with load_checkpoint(tmp_path / "epoch=0-step=3.ckpt") as checkpoint:
        saved = checkpoint.state("callbacks")["ExactResume"]["processes"][0]
    assert saved["epoch_start"] is None
    found: list[torch.Tensor] = []

    class Watching(ExactResume):
        state_key = "ExactResume"

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_start(trainer, pl_module)
            found.append(torch.get_rng_state())

    callbacks = (Watching(replay=False),)
    trainer = make_trainer(tmp_path, epochs=1, callbacks=callbacks, enable_checkpointing=False)
    trainer.fit(tiny(), make_loader(), ckpt_path=tmp_path / "epoch=0-step=3.ckpt")
    assert torch.equal(found[0], saved["now"]["torch"])


@pytest.mark.parametrize("validating", [False, True])
@pytest.mark.parametrize("step", [5, 10])
def test_from_the_last_batch_of_an_epoch(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, step: int, validating: bool
) -> None:
    alone, again = tmp_path / "alone", tmp_path / "again"
    validation = make_loader(shuffle=False) if validating else None
    fitted(alone, tiny, make_trainer, make_loader(), validation, steps=1)
    path = next(alone.glob(f"epoch=*-step={step}.ckpt"))
    fitted(again, tiny, make_trainer, make_loader(), validation, steps=1, path=path)
    assert differing(alone / "end" / LAST, again / "end" / LAST) == []


class Counting(pl.Callback):
    """Count what a run does."""

    def __init__(self) -> None:
        self.validations = self.epochs = 0

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validations += 1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs += 1


@pytest.mark.parametrize(("step", "validations", "epochs"), [(4, 4, 4), (5, 4, 4), (6, 3, 3)])
def test_what_was_due_is_done(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, step: int, validations: int, epochs: int
) -> None:
    fitted(tmp_path, tiny, make_trainer, make_loader(), make_loader(shuffle=False), steps=1)
    counting = Counting()
    trainer = make_trainer(tmp_path, callbacks=(ExactResume(), counting), enable_checkpointing=False)
    path = next(tmp_path.glob(f"epoch=*-step={step}.ckpt"))
    trainer.fit(tiny(), make_loader(), make_loader(shuffle=False), ckpt_path=path)
    assert (counting.validations, counting.epochs) == (validations, epochs)
    assert trainer.global_step == 20


class Plateau(ReduceLROnPlateau):
    """Halve the rate at every step that has no better metric."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer, factor=0.5, patience=0, threshold=10.0)


@pytest.mark.parametrize("validation_end", [False, True])
@pytest.mark.parametrize("step", [5, 7, 10])
def test_schedulers_that_watch_a_metric_go_on(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, step: int, validation_end: bool
) -> None:
    class Watching(tiny):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": Plateau(optimizer), "monitor": "val_loss"}}

    def run(folder: Path, path: Path | None = None) -> None:
        seed(1 if path is None else 77)
        name = "{epoch}-{step}"
        keep = (
            ModelCheckpoint(folder, name, save_top_k=-1, save_on_train_epoch_end=not validation_end),
            ModelCheckpoint(folder / "steps", name, save_top_k=-1, every_n_train_steps=1),
        )
        trainer = make_trainer(folder, callbacks=(ExactResume(), *keep))
        trainer.fit(Watching(), make_loader(), make_loader(shuffle=False), ckpt_path=path)

    alone, again = tmp_path / "alone", tmp_path / "again"
    run(alone)
    run(again, next((alone / "steps" if step == 7 else alone).glob(f"epoch=*-step={step}.ckpt")))
    assert differing(alone / LAST, again / LAST) == []
