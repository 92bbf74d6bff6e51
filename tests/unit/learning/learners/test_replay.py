"""What replay learners share: the mean over several batches."""

import torch

from milepost.learning.learners.replay import mean_of_all


def test_a_mean_of_means_is_weighted():
    one, two = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([5.0])
    found = mean_of_all([one.mean(), two.mean()], [3, 1])
    torch.testing.assert_close(found, torch.cat([one, two]).mean())


def test_numbers_of_examples_may_be_tensors():
    one, two = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([5.0])
    found = mean_of_all([one.mean(), two.mean()], [torch.tensor(3.0), torch.tensor(1.0)])
    torch.testing.assert_close(found, torch.cat([one, two]).mean())
    assert float(mean_of_all([torch.tensor(0.3)], [torch.tensor(7.0)])) == float(torch.tensor(0.3))


def test_the_mean_of_one_batch_is_its_own():
    assert float(mean_of_all([torch.tensor(0.3)], [7])) == float(torch.tensor(0.3))
