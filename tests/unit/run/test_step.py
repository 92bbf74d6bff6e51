"""A step's gradients are those of the loss, compiled or not."""

import pytest
import torch
from torch import nn

from milepost.errors import MissingDependencyError, OptionsError
from milepost.learning import StepLoss
from milepost.run import step as module
from milepost.run.step import WORTH_COMPILING, GradientStep, choose_mode


def loss(model, batch):
    """Compute a loss with a derivative of the model inside, as forces are."""
    x = batch["x"].detach().requires_grad_()
    y = model(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    fit, smooth = (y.squeeze(-1) - batch["y"]).square().mean(), slope.square().mean()
    return StepLoss(fit + smooth, {"fit": fit, "smooth": smooth}, {})


def model_and_batch(count=4):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    return model, {"x": torch.randn(count, 3), "y": torch.randn(count)}


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


def test_eager_gradients_are_autograds(tmp_path):
    model, batch = model_and_batch()
    total, parts, _ = GradientStep(model, loss, "eager")(batch)
    found = gradients(model)
    model.zero_grad()
    expected, _, _ = loss(model, batch)
    expected.backward()
    torch.testing.assert_close(total, expected.detach())
    assert list(parts) == ["fit", "smooth"]
    last_bias = found.pop()
    assert torch.isfinite(last_bias).all()
    for a, b in zip(found, gradients(model), strict=False):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.skipif(not module.compiler_present(), reason="needs a C++ compiler")
def test_compiled_gradients_are_the_eager_ones_for_every_shape():
    compiled_model, _ = model_and_batch()
    eager_model, _ = model_and_batch()
    compiled, eager = GradientStep(compiled_model, loss, "compiled"), GradientStep(eager_model, loss, "eager")
    for count in (4, 6, 4):
        _, batch = model_and_batch(count)
        first, parts, _ = compiled(batch)
        second, _, _ = eager(batch)
        torch.testing.assert_close(first, second)
        assert list(parts) == ["fit", "smooth"]
        for a, b in zip(gradients(compiled_model), gradients(eager_model), strict=True):
            torch.testing.assert_close(a, b)
        again, _, _ = compiled(batch)
        assert torch.equal(first, again)


def test_a_parameter_that_the_loss_does_not_touch_gets_zeros():
    model, batch = model_and_batch()
    model.register_parameter("idle", nn.Parameter(torch.ones(2)))
    GradientStep(model, loss, "eager")(batch)
    assert model.idle.grad.tolist() == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.skipif(not module.compiler_present(), reason="needs a C++ compiler")
def test_a_compiled_step_counts_in_buffers_and_names_what_is_kept_form_by_form():
    """Frozen weights, the statistics of a batch norm, and outputs kept for some batches only."""

    def loss(model, batch):
        y = model(batch["x"])
        kept = {"outputs": y, "targets": batch["y"]} if "again" in batch else {"outputs": y}
        return StepLoss((y.squeeze(-1) - batch["y"]).square().mean(), {f"n{len(batch)}": y.mean()}, kept)

    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
        models[-1][0].bias.requires_grad_(False)
        models[-1][1].running_var = torch.ones(8)[::2]  # with other numbers between its own
    steps = [GradientStep(models[0], loss, "compiled"), GradientStep(models[1], loss, "eager")]
    _, batch = model_and_batch(6)
    for shown in (batch, {**batch, "again": batch["y"]}, batch):
        found, expected = (step(shown) for step in steps)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
    for one, other in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    assert int(models[0][1].num_batches_tracked) == 3


@pytest.fixture
def recorded(monkeypatch):
    """Run what was written out instead of compiling it: a compiler changes no meaning."""
    says = []

    def compiled(recording, examples, say):
        say()
        says.append(len(examples))
        listed = recording.module()
        return lambda inputs: listed(*inputs)

    monkeypatch.setattr(module, "compiled", compiled)
    return says


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_parameters_that_share_a_gradient_have_it_each_for_themselves(mode, recorded):
    """Autograd returns one tensor for both terms of a sum, and a single number for all of one."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Parameter(torch.ones(3)) for _ in range(3))

    model = Sum()
    step = GradientStep(model, lambda m, batch: StepLoss(((m.a + m.b) * batch["x"]).sum() + m.c.sum(), {}, {}), mode)
    step({"x": torch.tensor([1.0, 2.0, 2.0])})
    nn.utils.clip_grad_norm_(model.parameters(), (9 + 9 + 3) ** 0.5 / 2)
    for parameter, expected in ((model.a, [0.5, 1, 1]), (model.b, [0.5, 1, 1]), (model.c, [0.5, 0.5, 0.5])):
        torch.testing.assert_close(parameter.grad, torch.tensor(expected), rtol=1e-4, atol=0)


class Counting(nn.Module):
    """Count calls in a buffer."""

    def __init__(self, how):
        super().__init__()
        self.weight, self.how = nn.Parameter(torch.ones(2)), how
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, x):
        self.how(self)
        return (self.weight * x * self.calls).sum()


def total_loss(model, batch):
    return StepLoss(model(batch["x"]), {}, {})


def test_buffers_of_another_form_are_written_to_as_well(recorded):
    model = Counting(lambda m: m.calls.add_(1))
    step, batch = GradientStep(model, total_loss, "compiled"), {"x": torch.ones(2)}
    for calls in (torch.zeros(2), torch.zeros(4)[::2], torch.zeros(2).double(), torch.zeros(2)):
        model.calls = calls
        step(batch)
        step(batch)
        assert calls.tolist() == [2.0, 2.0]
        assert model.weight.grad.tolist() == [2.0, 2.0]
    assert len(recorded) == 3, "one for each form"


def test_buffers_that_are_exchanged_are_refused(recorded):
    step = GradientStep(Counting(lambda m: setattr(m, "calls", m.calls + 1)), total_loss, "compiled")
    with pytest.raises(
        OptionsError, match=r"writes to its buffers in place, found other tensors .*: calls\. Use copy_"
    ):
        step({"x": torch.ones(2)})


def test_weights_past_the_parameters_are_refused(recorded):
    model = Counting(lambda m: None)
    aside = [model.weight]
    step = GradientStep(model, lambda m, b: StepLoss(m(b["x"]) + aside[0].square().sum(), {}, {}), "compiled")
    with pytest.raises(OptionsError, match="past its parameters and buffers"):
        step({"x": torch.ones(2)})


def test_a_step_that_can_not_be_compiled_is_computed_all_the_same_unless_that_is_demanded(recorded):
    """Which, its form alone says: a resumed run meets the forms in another order."""

    def loss(model, batch):
        y = model(batch["x"])
        return StepLoss(y * (y.item() if len(batch["x"]) == 2 else 1.0), {"y": y}, {})

    said, models = [], [nn.Sequential(Counting(lambda m: m.calls.fill_(3.0))) for _ in range(3)]
    auto = GradientStep(models[0], loss, "compiled", said.append, demanded=False)
    eager, demanded = GradientStep(models[1], loss, "eager"), GradientStep(models[2], loss, "compiled")
    for batch in ({"x": torch.ones(2)}, {"x": torch.ones(1)}, {"x": 2 * torch.ones(2)}):
        found, expected = auto(batch), eager(batch)
        assert torch.equal(found.total, expected.total)
        assert torch.equal(models[0][0].weight.grad, models[1][0].weight.grad)
    assert [line.partition(":")[0] for line in said] == [
        "the step for batches of 2 examples is not compiled", "compiling the step for batches of 1 examples, form 2"
    ]  # fmt: skip
    assert len(recorded) == 1
    with pytest.raises(OptionsError, match="depends on the numbers"):
        demanded({"x": torch.ones(2)})


def test_a_batch_may_end_with_a_single_number(recorded):
    said = []
    step = GradientStep(Counting(lambda m: None), total_loss, "compiled", say=said.append)
    step({"x": torch.ones(2), "factor": torch.tensor(1.0)})
    step({"x": torch.ones(1), "factor": torch.tensor(1.0)})
    assert said == [
        "compiling the step for batches of 2 examples: this takes minutes once",
        "compiling the step for batches of 1 examples, form 2: this takes minutes once",
    ]


def test_auto_compiles_long_runs_where_it_can(monkeypatch):
    model, _ = model_and_batch()
    monkeypatch.setattr(module, "compiler_present", lambda: True)
    assert choose_mode("auto", WORTH_COMPILING, model) == "compiled"
    assert choose_mode("auto", WORTH_COMPILING - 1, model) == "eager"
    assert choose_mode("auto", 3 * WORTH_COMPILING - 1, model, shapes=3) == "eager"
    assert choose_mode("auto", 3 * WORTH_COMPILING, model, shapes=3) == "compiled"
    assert choose_mode(False, 10**9, model) == "eager"
    monkeypatch.setattr(module, "compiler_present", lambda: False)
    assert choose_mode("auto", 10**9, model) == "eager"
    with pytest.raises(MissingDependencyError, match=r"expected a C\+\+ compiler .* found none. Install it"):
        choose_mode(True, 1, model)
