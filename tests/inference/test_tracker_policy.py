"""Rules that cannot be, and those of `transformers`."""

from dataclasses import replace

import pytest
import torch

from masklet.config import SAM3
from masklet.errors import ConfigError
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.model.memory_bank import BankRules


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"most_points": 15}, "most_points must be even and at least 2, or None, got 15"),
        ({"most_points": 0}, "got 0"),
        ({"map_dtype": torch.int8}, "map_dtype must be a floating point format, got torch.int8"),
    ],
)
def test_rules_that_cannot_be(rules, message):
    with pytest.raises(ConfigError, match=message):
        TrackerPolicy(bank=BankRules(select=True), **rules)


def test_sizes_of_the_bank_come_of_the_model():
    config = replace(SAM3.tracker, maps=4, pointers=8, conditioning_maps=2)
    bank = TrackerPolicy.as_transformers(config).bank
    assert (bank.maps, bank.pointers, bank.conditioning_maps) == (4, 8, 2)
    assert bank.huggingface and not bank.select
