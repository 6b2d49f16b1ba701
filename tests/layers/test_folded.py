import copy
import pickle

import pytest
import torch

from masklet.layers.folded import Folded


class Counted:
    def __init__(self, *parameters):
        self.parameters = parameters
        self.folded = Folded()
        self.times = 0

    def make(self):
        self.times += 1
        return sum(self.parameters)

    def value(self):
        return self.folded.of(self.parameters, self.make)


@torch.no_grad()
def test_it_is_made_once():
    counted = Counted(torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2)))
    assert counted.value() is counted.value()
    with torch.inference_mode():
        assert counted.value().tolist() == [2, 2]
    assert counted.times == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda parameter: parameter.add_(1),
        lambda parameter: parameter.copy_(torch.full((2,), 2.0)),
        lambda parameter: setattr(parameter, "data", torch.full((2,), 2.0)),
        lambda parameter: torch._foreach_add_([parameter], 1.0),
    ],
)
@torch.no_grad()
def test_it_is_made_anew_when_a_parameter_changes(change):
    parameter = torch.nn.Parameter(torch.ones(2))
    counted = Counted(parameter)
    counted.value()
    change(parameter)
    assert counted.value().tolist() == [2, 2]


@torch.no_grad()
def test_another_format_and_back():
    module = torch.nn.Linear(1, 1, bias=False)
    folded = Folded()

    def value():
        return folded.of([module.weight], lambda: module.weight.clone())

    value()
    module.bfloat16()
    assert value().dtype == torch.bfloat16
    module.float()
    assert torch.equal(value(), module.weight)


def test_nothing_is_kept_with_gradients():
    counted = Counted(torch.nn.Parameter(torch.ones(2)))
    assert counted.value().requires_grad
    counted.value()
    assert counted.times == 2


def test_nothing_is_kept_of_what_does_not_count_its_changes():
    with torch.inference_mode():
        parameter = torch.ones(2)
        counted = Counted(parameter)
        counted.value()
        parameter.add_(1)
        assert counted.value().tolist() == [2, 2]


@torch.no_grad()
def test_it_does_not_travel():
    counted = Counted(torch.ones(2))
    counted.value()
    for other in (copy.deepcopy(counted.folded), pickle.loads(pickle.dumps(counted.folded))):
        assert other._kept is None
