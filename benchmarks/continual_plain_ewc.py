"""Train online EWC on permuted MNIST in plain torch: a check of `oewc` by a second program, which imports no Milepost.

The protocol is that of `continual_protocol.py`, the equations are those of online EWC as P. Buzzega et al. (NeurIPS
2020) use it, with λ for the weight of the penalty, γ for what remains of older importances, θ* for the weights after
the task before, and p_n for the likelihood of example n at its label:

    L(θ) = L_task(θ) + λ Σ_i F_i (θ_i - θ*_i)²,    F ← γ F + 1/N Σ_n p_n (∂ log p_n / ∂θ)²

The derivatives of single examples are taken one by one (`torch.func`), without what Milepost does to be quick.
Permutations, weights and the order of examples are torch's own, from --seed. With --e-lambda 0 it is plain SGD.

Needs torch, numpy and the four IDX files of MNIST in a folder, compressed by gzip or not. Prints the mean accuracy
after each task, and in the last line that after the last one. Repeat with

    python benchmarks/continual_plain_ewc.py --data-dir FOLDER --e-lambda 0.7
    python benchmarks/continual_plain_ewc.py --data-dir FOLDER --e-lambda 7
"""

import argparse
import gzip
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

PIXELS, HIDDEN, CLASSES = 784, 100, 10
AT_ONCE = 32
"""Examples whose derivatives are held together: few enough for a cache of the processor."""

Named = dict[str, Tensor]
"""Tensors by the names of the parameters."""


def read_idx(folder: Path, name: str) -> Tensor:
    """Read a file of bytes: its sizes stand behind four bytes that say what it is, as four bytes each."""
    paths = [folder / name, folder / f"{name}.gz"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise SystemExit(f"expected {paths[0]} or {paths[1]}, found neither; name the folder of MNIST's files")
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    sizes = np.frombuffer(content, dtype=">i4", count=content[3], offset=4)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(sizes))
    return torch.from_numpy(values.reshape(sizes).copy())


def read_set(folder: Path, kind: str) -> tuple[Tensor, Tensor]:
    """Read images [n, pixels], scaled to [0, 1], and labels [n]."""
    images = read_idx(folder, f"{kind}-images-idx3-ubyte").flatten(1).float() / 255
    return images, read_idx(folder, f"{kind}-labels-idx1-ubyte").long()


def perceptron() -> nn.Sequential:
    """Make the network: Xavier-uniform weights, no offsets at the start."""
    layers = [nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, CLASSES)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Divide numbers in a random order."""
    yield from torch.randperm(count).split(size)


def importances(model: nn.Module, images: Tensor, labels: Tensor) -> Named:
    """Return the mean over the examples of p_n (∂ log p_n / ∂θ)²."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def log_likelihood(given: Mapping[str, Tensor], image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        found = -F.cross_entropy(functional_call(model, dict(given), (image[None],)), label[None])
        return found, found

    each = vmap(grad(log_likelihood, has_aux=True), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for part in torch.arange(len(labels)).split(AT_ONCE):
        derivatives, found = each(weights, images[part], labels[part])
        for name, value in derivatives.items():
            total[name] += torch.einsum("n,n...->...", found.exp(), value * value)
    return {name: value / len(labels) for name, value in total.items()}


def learn(
    model: nn.Module, images: Tensor, labels: Tensor, held: tuple[Named, Named], given: argparse.Namespace
) -> None:
    """Go once through a task; `held` are importances and the weights before, empty for the first task."""
    parameters, (importance, before) = dict(model.named_parameters()), held
    optimizer = torch.optim.SGD(parameters.values(), lr=given.rate)
    for part in batches(len(labels), given.batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[part]), labels[part])
        for name, value in importance.items():
            loss = loss + given.e_lambda * (value * (parameters[name] - before[name]) ** 2).sum()
        if not math.isfinite(float(loss.detach())):
            raise SystemExit("the loss is no number any more; give a smaller --rate or --e-lambda")
        loss.backward()
        optimizer.step()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of right answers in %."""
    with torch.no_grad():
        return 100.0 * float((model(images).argmax(1) == labels).float().mean())


def run(given: argparse.Namespace) -> float:
    """Learn one task after the other; return the mean accuracy on all of them after the last."""
    torch.manual_seed(given.seed)
    torch.set_flush_denormal(True)  # squares of tiny derivatives, which a processor takes a hundred times as long for
    images, labels = read_set(given.data_dir, "train")
    test_images, test_labels = read_set(given.data_dir, "t10k")
    model = perceptron()
    places = [torch.randperm(PIXELS) for _ in range(given.tasks)]
    importance: Named = {}
    before: Named = {}
    mean = 0.0
    for task, order in enumerate(places):
        seen = images[:, order]
        learn(model, seen, labels, (importance, before), given)
        if given.e_lambda:
            found = importances(model, seen, labels)
            importance = {name: given.gamma * importance.get(name, 0.0) + value for name, value in found.items()}
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        shares = [accuracy(model, test_images[:, one], test_labels) for one in places[: task + 1]]
        mean = sum(shares) / len(shares)
        print(f"task {task}: its own {shares[-1]:.2f} %, mean of {len(shares)} {mean:.2f} %", flush=True)
    return mean


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description="Train online EWC on permuted MNIST in plain torch.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of MNIST's four IDX files")
    parser.add_argument("--e-lambda", type=float, required=True, help="weight of the penalty; 0 for plain SGD")
    parser.add_argument("--gamma", type=float, default=1.0, help="what remains of the older tasks' importances")
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate")
    parser.add_argument("--batch", type=int, default=128, help="examples in a batch")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    mean = run(given)
    print(f"online EWC, λ = {given.e_lambda:g}, {given.tasks} tasks, seed {given.seed}: {mean:.2f} %")


if __name__ == "__main__":
    main()
