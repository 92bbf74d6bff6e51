"""Exemplars are chosen by herding, kept class by class, and classify by their means."""

import torch
import torch.nn.functional as F
from torch import nn

from milepost.learning.exemplars import UNSEEN, Exemplars, NearestMean, herded
from milepost.learning.objective import Classification


def points(count, seed=0):
    """Return vectors of length one."""
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_herding_follows_algorithm_4():
    features, chosen = points(9), []
    mean = F.normalize(features.mean(0), dim=0)
    for k in range(1, 6):
        distances = {
            i: float((mean - (features[i] + features[chosen].sum(0)) / k).norm()) for i in range(9) if i not in chosen
        }
        chosen.append(min(distances, key=distances.get))
    assert herded(features, 5).tolist() == chosen


def test_herding_chooses_nothing_twice_and_no_more_than_there_is():
    assert sorted(herded(points(4), 10).tolist()) == [0, 1, 2, 3]
    assert herded(torch.empty(0, 3), 2).tolist() == []


def kept():
    """Keep five exemplars of class 7 and two of class 3."""
    exemplars = Exemplars(10, torch.device("cpu"))
    exemplars.keep(7, {"x": torch.arange(5)}, 5)
    exemplars.keep(3, {"x": torch.arange(10, 12)}, 2)
    return exemplars


def content(exemplars):
    return {label: examples["x"].tolist() for label, examples in exemplars.of_each()}


def test_reducing_keeps_the_first_of_each_class():
    exemplars = kept()
    exemplars.reduce(3)
    assert content(exemplars) == {7: [0, 1, 2], 3: [10, 11]}
    exemplars.keep(1, {"x": torch.tensor([20])}, 1)
    exemplars.keep(0, {"x": torch.tensor([])}, 0)
    assert content(exemplars) == {7: [0, 1, 2], 3: [10, 11], 1: [20]}
    assert exemplars.get(torch.tensor([5, 0]))["x"].tolist() == [20, 0]


def test_exemplars_take_the_place_of_those_of_their_class():
    exemplars = kept()
    exemplars.keep(7, {"x": torch.tensor([30, 31])}, 2)
    assert content(exemplars) == {3: [10, 11], 7: [30, 31]}
    assert len(exemplars) == 4


def test_classes_can_be_dropped():
    exemplars = kept()
    exemplars.drop([7, 5])
    assert content(exemplars) == {3: [10, 11]}
    exemplars.drop([3])
    assert (content(exemplars), len(exemplars)) == ({}, 0)
    exemplars.drop([3])
    exemplars.keep(1, {"x": torch.tensor([20])}, 1)
    assert content(exemplars) == {1: [20]}


def test_nothing_can_be_reduced():
    exemplars = Exemplars(10, torch.device("cpu"))
    exemplars.reduce(3)
    assert len(exemplars) == 0


def test_saved_exemplars_are_the_same():
    restored = Exemplars(10, torch.device("cpu"))
    restored.load_state_dict(kept().state_dict())
    assert content(restored) == content(kept())
    assert restored.labels == (7, 3)


class Identity(nn.Module):
    def features(self, inputs):
        return inputs


def test_scores_are_negative_squared_distances_to_the_means():
    means = points(3)
    means[1] = 0
    model = NearestMean(Identity(), Classification(), means)
    inputs = 5 * points(4, seed=1)
    scores = model(inputs)
    expected = -(F.normalize(inputs, dim=1)[:, None] - means).square().sum(2)
    torch.testing.assert_close(scores[:, [0, 2]], expected[:, [0, 2]])
    assert scores[:, 1].tolist() == [UNSEEN] * 4


def test_a_predictor_is_in_the_mode_of_its_model():
    model = Identity().eval()
    assert not NearestMean(model, Classification(), points(2)).training
    assert not model.training
