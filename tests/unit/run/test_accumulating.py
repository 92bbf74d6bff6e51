"""A step of several batches is the step of one batch of all their examples."""

import pytest
import torch
from torch import nn

from milepost.learning import StepLoss
from milepost.run.accumulating import averaged_gradients
from milepost.run.step import GradientStep


def loss(model, batch):
    errors = model(batch["x"]).squeeze(-1) - batch["y"]
    return StepLoss(
        errors.square().mean(), {"error": errors.abs().mean(), "first": batch["y"].mean()}, {"errors": errors}
    )


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def examples(count):
    torch.manual_seed(1)
    return {"x": torch.randn(count, 3, dtype=torch.float64), "y": torch.randn(count, dtype=torch.float64)}


def split(batch, size):
    numbers = torch.arange(len(batch["y"]))
    return [(own, {k: v[own] for k, v in batch.items()}) for own in torch.split(numbers, size)]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 10, 11])
def test_batches_count_by_their_examples(size):
    batch, together, apart = examples(10), model(), model()
    total, parts, kept = GradientStep(together, loss, "eager")(batch)
    found, own, outputs = averaged_gradients(GradientStep(apart, loss, "eager"), split(batch, size), 10)
    torch.testing.assert_close(found, total)
    assert list(own) == ["error", "first"]
    torch.testing.assert_close(own, parts)
    torch.testing.assert_close(torch.cat([each["errors"] for each in outputs]), kept["errors"])
    for a, b in zip(apart.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_one_batch_is_that_step_to_the_bit():
    batch, one, other = examples(7), model(), model()
    total, _, _ = GradientStep(one, loss, "eager")(batch)
    found, _, _ = averaged_gradients(GradientStep(other, loss, "eager"), split(batch, 7), 7)
    assert torch.equal(found, total)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_batches_are_taken_one_at_a_time():
    held = []

    def lazily():
        for own, batch in split(examples(6), 2):
            held.append(len(own))
            yield own, batch
            held.append(-len(own))

    averaged_gradients(GradientStep(model(), loss, "eager"), lazily(), 6)
    assert held == [2, -2, 2, -2, 2, -2]


def test_only_gradients_are_scaled():
    batch, plain, scaled = examples(6), model(), model()
    total, _, _ = averaged_gradients(GradientStep(plain, loss, "eager"), split(batch, 4), 6)
    step = GradientStep(scaled, loss, "eager", precision=torch.bfloat16)
    found, _, _ = averaged_gradients(step, split(batch, 4), 6, scale=8.0)
    torch.testing.assert_close(found, total.float(), check_dtype=False)
    for a, b in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, 8 * b.grad, rtol=1e-5, atol=1e-6)
