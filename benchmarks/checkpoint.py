"""Measure what saving costs: the waiting of the training, the time to a durable file, loading, memory.

A chain of linear layers with Adam is trained on random numbers; its state (parameters and two moments each) is saved
by Milepost and by its peers, in turn, into one folder. All in one process and one run; every figure is a median, and
comparisons are medians of ratios within a round.

*Stall* is the time that the training thread waits for a save: handing over, and the wait before the optimizer's step.
*Memcpy* is one copy of the state into memory that is used again, with all of torch's threads. *Durable* is the time
from handing over to a synced file while nothing is trained. *Slow-down* is how much longer steps take when each tenth
saves. *Extra memory* is the peak above the training's own when four saves are handed over without waiting.

Needs Milepost's environment; Lightning takes part where it is installed. With the defaults: 8 GB of memory, 8 GB of
disk, a quarter of an hour. Repeat with

    python benchmarks/checkpoint.py --folder DIR
"""

import argparse
import ctypes
import gc
import shutil
import statistics
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from checkpoint_savers import (
    Direct,
    Distributed,
    MilepostBackground,
    MilepostDirect,
    MilepostWithoutIsal,
    Plain,
    Safetensors,
    State,
    TorchMapped,
    TorchSave,
    gathered,
    lightning_saver,
    tensors_in,
)
from protocol import busy_share, machine_line, table
from torch import Tensor

from milepost.archive.checksum import crc32

LAYERS = 12
SAVE_EVERY = 10
IN_FLIGHT = 4
SMALL_PARAMETERS = 85_000  # with two moments each, 1 MB


class Training:
    """A model that learns nothing, at the pace of one that does."""

    def __init__(self, parameters: int, batch: int) -> None:
        width = max(4, int((parameters / LAYERS) ** 0.5))
        layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())]
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)
        self.inputs = torch.rand(batch, width)
        self.backward()
        self.optimizer.step()

    @property
    def state(self) -> State:
        """What is saved."""
        return {"model": self.model, "optimizer": self.optimizer}

    def steady(self) -> list[Tensor]:
        """List what only the optimizer changes: all of it here."""
        return [tensor for _, tensor in tensors_in(gathered(self.state))]

    def bytes(self) -> int:
        """Count the bytes of the state."""
        return sum(tensor.nbytes for tensor in self.steady())

    def backward(self) -> None:
        """Compute the gradients of a batch."""
        self.optimizer.zero_grad(set_to_none=False)
        self.model(self.inputs).square().mean().backward()


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memcpy_seconds(training: Training, turns: int) -> float:
    """Copy the state into memory that was used before."""
    sources = training.steady()
    targets = [tensor.clone() for tensor in sources]

    def copy() -> None:
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)

    return statistics.median(seconds(copy) for _ in range(turns))


@dataclass
class Stalls:
    """Seconds that the training thread waited for one save, with a step to overlap with and without."""

    overlapped: list[float]
    alone: list[float]


def stalls(saver: Direct, training: Training, path: Path, turns: int) -> Stalls:
    """Save `turns` times either way, each save finished before the next; the first, with cold memory, is left out."""
    result, steady = Stalls([], []), training.steady()
    for turn in range(turns + 1):
        for measured, step in ((result.overlapped, training.backward), (result.alone, lambda: None)):
            handing = seconds(lambda: saver.save(path, training.state, steady))
            step()
            joining = seconds(saver.before_step)
            training.optimizer.step()
            saver.wait()
            if turn:
                measured.append(handing + joining)
    return result


def durable_seconds(saver: Direct, training: Training, path: Path) -> float:
    """Save with nothing else to do."""

    def save() -> None:
        saver.save(path, training.state, training.steady())
        saver.before_step()
        saver.wait()

    return seconds(save)


def pace(training: Training, saver: Direct | None, path: Path, saves: int) -> float:
    """Return the seconds of a step when each tenth hands over a save, or none does."""

    def train() -> None:
        for step in range(saves * SAVE_EVERY):
            if saver is not None and step % SAVE_EVERY == 0:
                saver.save(path, training.state, training.steady())
            training.backward()
            if saver is not None:
                saver.before_step()
            training.optimizer.step()

    spent = seconds(train)
    if saver is not None:
        saver.wait()
    return spent / (saves * SAVE_EVERY)


def memory(field: str) -> int:
    """Read a size of this process in bytes: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status does not give {field}; measure on Linux")


def give_memory_back() -> None:
    """Return freed memory to the system, so that the next to ask for some gets it as a new program would."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def extra_memory(make: Callable[[], Direct], training: Training, folder: Path) -> int:
    """Hand over several saves as fast as they are taken; return the peak above what was there before."""
    give_memory_back()
    saver = make()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = memory("VmRSS")
    for turn in range(IN_FLIGHT):
        saver.save(folder / f"flight-{turn % 2}", training.state, training.steady())
        saver.before_step()
    saver.wait()
    saver.close()
    return memory("VmHWM") - before


def savers() -> dict[str, Callable[[], Direct]]:
    """Name everything that takes part."""
    makers: list[Callable[[], Direct | None]] = [
        MilepostBackground,
        lambda: None if crc32 is zlib.crc32 else MilepostWithoutIsal(),
        MilepostDirect,
        TorchSave,
        Safetensors,
        Distributed,
        lightning_saver,
    ]
    return {made.name: make for make in makers if (made := make()) is not None}  # type: ignore[misc]


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios within rounds."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


@dataclass
class Measured:
    """What was measured of one saver: its stalls, durable times, paces while it saved."""

    stall: Stalls
    durable: list[float]
    paces: list[float]


def measure(running: dict[str, Direct], training: Training, folder: Path, rounds: int) -> dict[str, Measured]:
    """Measure every saver, and the plain write and the undisturbed pace under their names, round by round."""
    plain = Plain()
    found = {name: Measured(Stalls([], []), [], []) for name in (*running, plain.name)}
    for name, saver in running.items():
        durable_seconds(saver, training, folder / name)  # warm
    for _ in range(rounds):
        for name, saver in {plain.name: plain, **running}.items():
            found[name].durable.append(durable_seconds(saver, training, folder / name))
    print("durable times measured", file=sys.stderr)
    for name, saver in running.items():
        times = found[name].durable
        found[name].stall = stalls(saver, training, folder / name, rounds) if saver.background else Stalls(times, times)
    print("stalls measured", file=sys.stderr)
    for _ in range(rounds):
        found[plain.name].paces.append(pace(training, None, folder, 1))
        for name, saver in running.items():
            if saver.background:
                found[name].paces.append(pace(training, saver, folder / name, 1))
    return found


def saving_table(training: Training, folder: Path, rounds: int) -> str:
    """Measure stalls, slow-down, durable time and memory of every saver."""
    copy = memcpy_seconds(training, 7)
    makers = savers()
    running = {name: make() for name, make in makers.items()}
    found = measure(running, training, folder, rounds)
    plain = found[Plain.name]
    rows: list[tuple[str, ...]] = []
    for name, saver in running.items():
        saver.close()
        mine = found[name]
        overlapped, alone = statistics.median(mine.stall.overlapped), statistics.median(mine.stall.alone)
        slower = f"{ratio(mine.paces, plain.paces) - 1:+.1%}" if mine.paces else "–"
        durable = (f"{statistics.median(mine.durable):.2f}", f"{ratio(mine.durable, plain.durable):.2f}")
        rows.append(
            (name, f"{overlapped * 1e3:.0f}", f"{overlapped / copy:.2f}", f"{alone / copy:.2f}", slower, *durable)
        )
    held = [extra_memory(make, training, folder) / training.bytes() for make in makers.values()]
    header = (
        "program",
        "stall [ms]",
        "stall / memcpy",
        "without a step / memcpy",
        f"slow-down, save each {SAVE_EVERY} steps",
        "durable [s]",
        "durable / plain",
        f"extra memory, {IN_FLIGHT} saves [states]",
    )
    facts = (
        f"State: {training.bytes() / 1e9:.3f} GB. A step takes {statistics.median(plain.paces):.2f} s, a memcpy "
        f"{copy * 1e3:.0f} ms, a plain write and fsync of the bytes {statistics.median(plain.durable):.2f} s."
    )
    return f"{facts}\n\n{table(header, [(*row, f'{extra:.2f}') for row, extra in zip(rows, held, strict=True)])}"


def loading_table(training: Training, folder: Path, rounds: int) -> str:
    """Time loading of files that the system holds in its cache, into memory that was not used before."""
    loaders = [MilepostDirect(), TorchSave(), TorchMapped(), Safetensors()]
    times: dict[str, list[float]] = {loader.name: [] for loader in loaders}
    for loader in loaders:
        loader.save(folder / "loaded" / loader.name, training.state, ())
    for turn in range(rounds + 1):
        for loader in loaders:
            give_memory_back()
            spent = seconds(lambda loader=loader: loader.load(folder / "loaded" / loader.name))  # type: ignore[attr-defined]
            if turn:
                times[loader.name].append(spent)
    names = {"Milepost, save_checkpoint": "Milepost, verified", "torch.save + fsync": "torch.load"}
    names |= {"safetensors + fsync": "safetensors, load_file"}
    rows = [
        (names.get(name, name), f"{statistics.median(spent):.2f}", f"{ratio(spent, times[TorchSave.name]):.2f}")
        for name, spent in times.items()
    ]
    return table(("load", "[s]", "/ torch.load"), rows)


def small_table(folder: Path, turns: int) -> str:
    """Save a small model: milliseconds of stall, and until durable."""
    training = Training(SMALL_PARAMETERS, 16)
    rows: list[tuple[str, ...]] = []
    for name, make in savers().items():
        saver = make()
        path = folder / f"small {name}"
        stall = stalls(saver, training, path, turns).overlapped
        durable = [durable_seconds(saver, training, path) for _ in range(turns)]
        saver.close()
        rows.append((name, f"{statistics.median(stall) * 1e3:.1f}", f"{statistics.median(durable) * 1e3:.1f}"))
    plain = statistics.median(durable_seconds(Plain(), training, folder / "small") for _ in range(turns))
    rows.append((Plain.name, "–", f"{plain * 1e3:.1f}"))
    return table((f"{training.bytes() / 1e6:.1f} MB", "stall [ms]", "durable [ms]"), rows)


def report(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print all tables."""
    for part in ("", "loaded"):
        (folder / part).mkdir(exist_ok=True)
    busy = busy_share()
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it is meant to be here
    print(small_table(folder, options.small_turns), flush=True)
    training = Training(options.parameters, options.batch)
    print(f"\n{saving_table(training, folder, options.rounds)}\n", flush=True)
    for made in folder.iterdir():
        if made.name != "loaded":
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    print(loading_table(training, folder, options.rounds))
    print(f"\n{torch.get_num_threads()} threads; lightning {version('lightning')}. {machine_line({}, busy)}")


def main() -> None:
    """Run everything in a folder of its own, which is removed."""
    parser = argparse.ArgumentParser(description="Compare what saving a training state costs.")
    parser.add_argument("--parameters", type=int, default=100_000_000, metavar="N")
    parser.add_argument("--batch", type=int, default=384, metavar="N", help="examples in a step, which sets its length")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--small-turns", type=int, default=30, metavar="N")
    parser.add_argument("--folder", type=Path, default=None, metavar="DIR", help="where to write; on the disk to test")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        report(options, Path(scratch))


if __name__ == "__main__":
    main()
