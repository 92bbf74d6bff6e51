"""The loops of Lightning 2.6: where a run is, and how one that is resumed gets to the same place.

Promise: this is the only module that knows Lightning's loops from inside. What it does is what the loops of a run that
was never stopped would have done, in the same order.

What there is to know. Lightning makes the iterator of a process's first epoch before `on_train_start`, and that of a
later one after `on_train_epoch_start`; each time torch's global generator is drawn from. A checkpoint from
`on_train_batch_end` counts its batch as processed but not as completed; on resuming from it, Lightning passes over the
validation that was due, and over the end of the epoch if the batch was its last. A checkpoint from
`on_train_epoch_end` lies before the plateau schedulers of that epoch are stepped, and on resuming they never are; with
`max_steps`, Lightning takes that epoch for unfinished and reads one batch too many.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

# Skipping works with the fetcher that hands over one batch at a time.
_FETCHER = "_PrefetchDataFetcher"


@dataclass(frozen=True)
class Moment:
    """What was due when a checkpoint was saved."""

    validation: bool = False
    epoch_end: bool = False
    schedulers: bool = False

    @classmethod
    def now(cls, trainer: Any) -> "Moment":
        """Find out what a run does next."""
        loop = trainer.fit_loop
        if not trainer.training or loop._data_fetcher is None:
            return cls()
        batches, epochs = loop.epoch_loop.batch_progress.current, loop.epoch_progress.current
        after_batch = batches.processed == batches.completed + 1
        return cls(
            validation=after_batch and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher)),
            epoch_end=after_batch and bool(loop.epoch_loop._num_ready_batches_reached()),
            schedulers=epochs.processed == epochs.completed + 1,
        )


def count_batch_as_completed(loops: dict[str, Any], due: Moment) -> None:
    """Change the saved counts of a checkpoint so that Lightning does not pass over what was due after the batch.

    An epoch's last batch makes a step of the optimizer. Lightning counts it for the loggers after the validation, and
    where none is due and the batch is completed, not at all: then it is counted here.
    """
    progress = loops["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["completed"] = counts["processed"]
    if due.epoch_end and not due.validation:
        loops["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def is_in_epoch(trainer: Any) -> bool:
    """Tell whether the run that starts goes on within an epoch."""
    return bool(trainer.fit_loop.restarted_mid_epoch)


def go_to(trainer: Any, due: Moment, *, replay: bool) -> None:
    """Bring a run that starts within an epoch to what was due; with `replay`, skip the batches before.

    Torch's generators must be as they were when the epoch began, if batches are to be skipped. Nothing that was due
    after a batch is done unless that batch was counted as completed.
    """
    loop = trainer.fit_loop
    validation = loop.epoch_loop.val_loop
    if due.validation:
        validation.restarting = False
        validation._restart_stage = "restarted_mid_evaluation"
    if due.epoch_end and replay:
        loop._data_fetcher.done = True
    elif replay:
        _skip(trainer, loop.epoch_loop.batch_progress.current.processed)


def begin_next_epoch(trainer: Any) -> None:
    """Begin the epoch after the one that ended, where Lightning would end it once more: it does with `max_steps`."""
    loop = trainer.fit_loop
    if not loop.restarted_on_epoch_end:
        return
    loop.epoch_progress.increment_completed()
    loop._restart_stage = "none"
    for part in (loop, loop.epoch_loop, loop.epoch_loop.val_loop):
        part._restarting = False


def is_replayable(trainer: Any) -> bool:
    """Tell whether iterating the loaders again gives the same batches from the same random state."""
    fetcher = trainer.fit_loop._data_fetcher
    return type(fetcher).__name__ == _FETCHER and all(
        isinstance(loader, DataLoader)
        and not isinstance(loader.dataset, IterableDataset)
        and not hasattr(loader, "load_state_dict")
        for loader in fetcher.combined_loader.flattened
    )


def generators(trainer: Any) -> list[torch.Generator]:
    """List the generators that the training loaders and their samplers have of their own, each once."""
    fetcher = trainer.fit_loop._data_fetcher
    loaders = fetcher.combined_loader.flattened if fetcher is not None else []
    owners = [owner for loader in loaders for owner in (loader, getattr(loader, "sampler", None))]
    found = [getattr(owner, "generator", None) for owner in owners]
    return list(dict.fromkeys(generator for generator in found if isinstance(generator, torch.Generator)))


def iterate_if_lightning_does_not(trainer: Any) -> None:
    """Make the iterator of the epoch that begins, unless Lightning will after `on_train_epoch_start`."""
    loop = trainer.fit_loop
    lightning_does = trainer.current_epoch > 0 and not loop.is_resuming and not loop.epoch_loop.restarting
    if not lightning_does:
        iter(loop._data_fetcher)


def step_plateau_schedulers(trainer: Any) -> None:
    """Step the schedulers that watch a metric, as the end of the epoch before would have."""
    loop = trainer.fit_loop
    for config in trainer.lr_scheduler_configs:
        ended = loop.epoch_progress.current.processed
        if not config.reduce_on_plateau or config.interval != "epoch" or ended % config.frequency:
            continue
        value = trainer.callback_metrics.get(config.monitor)
        if value is not None:
            loop.epoch_loop.scheduler_progress.increment_ready()
            trainer.lightning_module.lr_scheduler_step(config.scheduler, value)
            loop.epoch_loop.scheduler_progress.increment_completed()


def let_schedulers_step(trainer: Any) -> None:
    """Let the end of an epoch that was resumed step the plateau schedulers; the metrics are there."""
    trainer.fit_loop._restarting = False


def _skip(trainer: Any, count: int) -> None:
    """Iterate the epoch's data from its beginning to the batch after the last one that was processed."""
    loop = trainer.fit_loop
    fetcher = loop._data_fetcher
    for loader in fetcher.combined_loader.flattened:
        for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
            set_epoch = getattr(sampler, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(loop.epoch_progress.current.processed)
    iter(fetcher)
    for _ in range(count):
        next(fetcher)
    fetcher.fetched -= count  # Lightning adds what the checkpoint says was read
