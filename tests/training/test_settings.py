"""Settings of fine-tuning from a file: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet.errors import ConfigError
from masklet.losses.total import LossWeights
from masklet.training.settings import PRESETS, TrainSettings, read_settings

TEXT = """
base = "sam3.pt"
adapt = "no-vision"

[train]
path = "labels.json"
negatives = "listed"

[run]
steps = 7
clip = 1

[rates]
vision = 1e-6

[augment]
mirror = 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "t.toml").write_text(TEXT)
    return tmp_path / "t.toml"


def test_what_is_said_and_what_is_not(file: Path) -> None:
    settings = read_settings(file)
    assert (settings.base, settings.adapt, settings.validation) == ("sam3.pt", "no-vision", None)
    assert (settings.train.path, settings.train.negatives, settings.train.format) == ("labels.json", "listed", None)
    assert (settings.run.steps, settings.run.clip, settings.run.warmup) == (7, 1, 20)
    assert (settings.rates.vision, settings.rates.rest) == (1e-6, 8e-5)
    assert (settings.augment.mirror, settings.augment.steps) == (0.5, 17)
    assert settings.weights.classification == 20


def test_changes_win(file: Path) -> None:
    changes = [
        "run.steps=9",
        "base = default",
        'train.path="other, file.json"',
        "validation.path=held_out",
        "run.masks=false",
    ]
    settings = read_settings(file, changes)
    assert (settings.run.steps, settings.base, settings.run.masks) == (9, "default", False)
    assert settings.train.path == "other, file.json"
    assert settings.validation is not None
    assert settings.validation.path == "held_out"
    assert TrainSettings(train=settings.train).run.steps == 0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_and_the_file_wins(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.toml").write_text(f'preset = "{name}"\n[train]\npath = "x"\n[rates]\ntext = 3e-6\n')
    settings = read_settings(tmp_path / "t.toml", ["weights.l1=4.0"])
    plain = TrainSettings(train=settings.train)
    assert settings != plain
    assert (settings.rates.text, settings.weights.l1, settings.weights.giou) == (3e-6, 4.0, 2.0)
    for table, values in PRESETS[name].items():
        for key, value in values.items():
            if (table, key) != ("rates", "text"):
                assert getattr(getattr(settings, table), key) == value


def test_published_weights_of_one_layer() -> None:
    """spec/training.md 6.7: 5, 2, 20, 20 and twice as much for one-to-many queries; no masks."""
    weights = LossWeights(**PRESETS["rf100vl"]["weights"])
    assert (weights.l1, weights.giou, weights.classification, weights.presence) == (5, 2, 20, 20)
    assert (weights.one_to_many, weights.mask_focal, weights.pos_weight) == (2, 0, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("run.step=9", r"settings\.run: unknown names \['step'\]; known are"),
        ("run.steps=many", "settings.run.steps: expected int, got 'many'"),
        ("run.steps=1.5", "settings.run.steps: expected int, got 1.5"),
        ("run.masks=1", "settings.run.masks: expected bool, got 1"),
        ("run.images=0", "run.images must be at least 1, got 0"),
        ("run.ema=1", "ema in 0..1"),
        ("adapt=all", "settings.adapt: expected one of 'full', 'lora'"),
        ("train.format=voc", "settings.train.format: expected one of 'coco'"),
        ("train=labels.json", "settings.train: expected a table of settings"),
        ("augment.smallest=2", "augment: expected 0 < smallest"),
        ("replay.path=x\nreplay.share=1.0", "replay.share must be above 0 and below 1, got 1.0"),
        ("prompts.shown=0.9", "chances that sum to 1 at most"),
        ("preset=coco", "preset must be one of rf100vl, odinw"),
        ("run.steps", "expected NAME=VALUE"),
        ("base.x=1", "is a value and no table"),
    ],
)
def test_what_is_refused(file: Path, change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(file, change.split("\n"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("base = ")
    with pytest.raises(ConfigError, match="expected TOML"):
        read_settings(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match=r"expected a table \[train\]"):
        read_settings(tmp_path / "empty.toml")
