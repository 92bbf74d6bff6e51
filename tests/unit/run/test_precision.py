"""float16 trains as torch's own tools would, and the scale follows from the steps alone."""

import random

import pytest
import torch
from torch import nn

from milepost.learning import StepLoss
from milepost.options import TrainingOptions
from milepost.run.precision import GROWTH_INTERVAL, Scaler, computed_in
from milepost.run.step import GradientStep


def test_the_scale_is_that_of_torchs_scaler():
    """Torch's GradScaler, driven with gradients that overflow at random, is the oracle."""
    draw = random.Random(4)
    parameter = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    theirs, ours = torch.amp.GradScaler("cpu"), Scaler()
    theirs.scale(torch.ones(()))
    scales = set()
    for step in range(GROWTH_INTERVAL + 300):
        finite = step >= 200 or draw.random() > 0.02
        parameter.grad = torch.tensor(1.0 if finite else torch.inf)
        theirs.step(optimizer)
        theirs.update()
        ours.update(finite=finite)
        assert ours.scale == theirs.get_scale()
        scales.add(ours.scale)
    assert len(scales) > 2
    assert ours.scale == 2 * min(scales), "it went down and up"


def test_the_state_goes_on_where_it_was():
    one, other = Scaler(), Scaler()
    for _ in range(GROWTH_INTERVAL - 1):
        one.update(finite=True)
    other.load_state_dict(one.state_dict())
    other.update(finite=True)
    assert other.scale == 2 * Scaler().scale


def test_a_gradient_that_overflows_unscaled_is_no_overflow_of_the_scale():
    scaler = Scaler()
    halvings = 0
    while scaler.may_overflow:
        scaler.update(finite=False)
        halvings += 1
    assert (scaler.scale, halvings) == (1.0, 16)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_step_is_that_of_autocast(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    batch = {"x": torch.randn(8, 16), "y": torch.randn(8)}

    def loss(model, batch):
        return StepLoss((model(batch["x"]).squeeze(-1) - batch["y"]).square().mean(), {}, {})

    precision = computed_in(TrainingOptions(mixed_precision=name))
    total, _, _ = GradientStep(model, loss, "eager", precision=precision)(batch, 128.0)
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", precision):
        expected = loss(model, batch)[0]
    (expected * 128.0).backward()
    assert torch.equal(total, expected)
    full, _, _ = GradientStep(model, loss, "eager")(batch)
    assert not torch.equal(total, full)
    model.zero_grad()
    with torch.autocast("cpu", precision):
        (loss(model, batch)[0] * 128.0).backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient, parameter.grad)


def test_null_is_full_precision():
    assert computed_in(TrainingOptions()) is None
