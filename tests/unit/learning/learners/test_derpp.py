"""DER++ adds the loss on a second draw: equation 6."""

import pytest
import torch
import torch.nn.functional as F

from learning_driver import Player, check_stops, made
from learning_sets import classification, regression
from milepost.learning.data import taken


def played(steps, problem=classification, **options):
    """Take some steps with a buffer of 12 examples."""
    setting, model = problem()
    given = {"buffer_size": 12, "alpha": 0.3, "beta": 0.7, **options}
    player = Player(made("derpp", setting, **given), model, 0.01)
    return player.play(player.position("step", steps))


def test_the_loss_has_a_term_for_each_of_two_draws():
    player = played(5, minibatch_size=3)
    model = player.model
    batch = player.learner.draw(player.learner.setting.examples.batch(torch.arange(4)), model)
    first, second = taken(batch, "replay"), taken(batch, "again")
    expected = (
        F.cross_entropy(model(batch["inputs"]), batch["labels"])
        + 0.3 * F.mse_loss(model(first["inputs"]), first["recalled.logits"])
        + 0.7 * F.cross_entropy(model(second["inputs"]), second["labels"])
    )
    found = player.learner.loss(model, batch)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.parts["replay"], F.cross_entropy(model(second["inputs"]), second["labels"]))
    torch.testing.assert_close(found.parts["distance"], F.mse_loss(model(first["inputs"]), first["recalled.logits"]))


def test_the_draws_are_independent():
    player = played(0, minibatch_size=4).play()
    pairs = set()
    for _ in range(20):
        batch = player.learner.draw({}, player.model)
        first, second = (
            {tuple(row) for row in taken(batch, place)["recalled.logits"].tolist()} for place in ("replay", "again")
        )
        assert len(first) == len(second) == 4
        pairs.add(len(first & second))
    assert len(pairs) > 1


def test_terms_are_named_from_the_first_step_on():
    player = played(0)
    batch = player.learner.setting.examples.batch(torch.arange(4))
    found = player.learner.loss(player.model, player.learner.draw(batch, player.model))
    assert {name: float(part) for name, part in found.parts.items()} == {"distance": 0, "replay": 0}


@pytest.mark.parametrize("problem", [classification, regression])
def test_a_stop_anywhere_changes_nothing(problem):
    check_stops(lambda: played(0, problem))
