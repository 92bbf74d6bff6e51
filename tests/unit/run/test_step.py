"""A step's gradients are those of the loss, compiled or not."""

import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from milepost.errors import MissingDependencyError
from milepost.learning import StepLoss
from milepost.run import step as module
from milepost.run.step import WORTH_COMPILING, GradientStep, choose_mode, keep_compiled_code


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


def test_compiling_draws_no_random_numbers(monkeypatch):
    """A run compiles whenever it is started: that must not show in what is drawn afterwards."""

    def compile_and_draw(function, **settings):
        random.random(), np.random.rand(), torch.rand(())
        return function

    monkeypatch.setattr(module.torch, "compile", compile_and_draw)
    after = {}
    for mode in ("eager", "compiled"):
        model, batch = model_and_batch()
        model.append(nn.Dropout(0.5))
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        step = GradientStep(model, loss, mode)
        total = [float(step(batch)[0]) for _ in range(3)]
        after[mode] = (total, random.random(), np.random.rand(), float(torch.rand(())))
    assert after["compiled"] == after["eager"]
    assert len(set(after["eager"][0])) == 3, "dropout draws in every step"


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


def test_compiled_code_is_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "milepost" / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/chosen"
