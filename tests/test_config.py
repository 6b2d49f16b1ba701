"""Configurations: back from plain dictionaries, old ones too, and sizes that do not fit."""

import json
from dataclasses import replace

import pytest

from masklet.config import PRESETS, SAM3, TEST, MaskDecoderConfig, MemoryEncoderConfig, ModelConfig, TrackerConfig
from masklet.errors import ConfigError

TRACKER = TEST.tracker


@pytest.mark.parametrize("name", PRESETS)
def test_back_from_json(name):
    config = PRESETS[name]
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_configurations_from_before_trackers():
    values = SAM3.to_dict()
    del values["tracker"]
    assert ModelConfig.from_dict(values) == replace(SAM3, tracker=None)


def test_which_presets_have_a_tracker():
    assert {name for name, config in PRESETS.items() if config.tracker is not None} == {"sam3", "default", "test"}
    assert SAM3.tracker == TrackerConfig()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tracker_neck": False}, "a tracker needs tracker_neck"),
        (
            {"tracker": replace(TRACKER, mask_decoder=MaskDecoderConfig(heads=3))},
            "half the width 16 must be divisible by tracker.mask_decoder.heads 3",
        ),
        ({"tracker": replace(TRACKER, memory_encoder=MemoryEncoderConfig(width=6))}, "divisible by 4 .* got 6"),
        ({"tracker": replace(TRACKER, memory_encoder=MemoryEncoderConfig(width=12))}, "divide the width 16, got 12"),
    ],
)
def test_trackers_that_do_not_fit(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(TEST, **change)
