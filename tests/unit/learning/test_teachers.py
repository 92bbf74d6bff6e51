"""A teacher is one fixed function: the model as it was, computing as in an evaluation."""

import torch
from torch import nn

from milepost.learning.teachers import Teacher


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_it_stays_as_it_was_while_the_model_moves_on():
    learning, teacher, inputs = model(), Teacher(torch.device("cpu")), torch.randn(5, 3)
    assert not teacher
    teacher.remember(learning)
    expected = learning.eval()(inputs)
    learning.train()
    with torch.no_grad():
        for weight in learning.parameters():
            weight += 1
    learning(inputs)
    assert teacher
    assert torch.equal(teacher.module(learning)(inputs), expected)
    assert learning.training
    assert not any(weight.requires_grad for weight in teacher.module(learning).parameters())


def test_it_is_remembered_anew():
    learning, teacher = model(), Teacher(torch.device("cpu"))
    teacher.remember(learning)
    assert teacher.module(learning) is teacher.module(learning)
    other = model(1)
    teacher.remember(other)
    assert torch.equal(teacher.module(learning)[0].weight, other[0].weight)


def test_a_saved_teacher_is_the_same():
    learning, teacher, restored = model(), Teacher(torch.device("cpu")), Teacher(torch.device("cpu"))
    teacher.remember(learning)
    restored.load_state_dict(teacher.state_dict())
    inputs = torch.randn(5, 3)
    assert torch.equal(restored.module(model(1))(inputs), teacher.module(learning)(inputs))


def test_nothing_was_remembered_and_nothing_comes_back():
    restored = Teacher(torch.device("cpu"))
    restored.load_state_dict(Teacher(torch.device("cpu")).state_dict())
    assert not restored
