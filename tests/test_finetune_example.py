"""The fine-tuning example: its pictures and its settings (`make finetune-demo` runs the whole of it)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from masklet.data.open import open_dataset
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import load_symbols
from masklet.synthetic.world import TRAIN
from masklet.training.settings import read_settings

SCRIPT = Path(__file__).parents[1] / "examples" / "finetune.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetune_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_symbol_is_shown_and_nothing_else_is_labelled(
    example: ModuleType, tmp_path: Path, sheet: SpriteSheet
) -> None:
    names = ("penguin", "lemon", "star")
    example.write_labelled(TRAIN, tmp_path, names=names, each=2, sheet=sheet)
    dataset = open_dataset(tmp_path, format="coco")
    shown = [prompt.phrase for picture in dataset for prompt in picture.prompts if prompt.instance_idx]
    assert set(shown) == set(names)
    assert min(shown.count(name) for name in names) >= 2
    assert all(len(picture.prompts) == len(names) for picture in dataset)  # what is not there is an absent concept
    assert {instance.crowd for picture in dataset for instance in picture.instances} == {False}


def test_the_names_are_new_to_the_default_model(example: ModuleType) -> None:
    never_named = {symbol.name for symbol in load_symbols() if not symbol.named}
    assert never_named.issuperset(example.NAMES)


def test_the_settings_read_what_the_example_writes(example: ModuleType) -> None:
    settings = read_settings(example.SETTINGS)
    assert settings.replay is not None
    folders = [(SCRIPT.parent / source.path).resolve() for source in (settings.train, settings.replay)]
    out = SCRIPT.parents[1] / example.OUT
    assert folders == [out / "train", out / "old"]
    assert settings.prompts.most == len(example.NAMES)
