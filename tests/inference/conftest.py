"""The predictor that the tests share, and a count of what goes through its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from confident import confident_model
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.detector import Detector


@pytest.fixture(scope="module")
def model() -> Detector:
    return confident_model()


@pytest.fixture
def predictor(model: Detector) -> ImagePredictor:
    return ImagePredictor(model)


@pytest.fixture
def counts(model: Detector, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pictures, phrases, prompts and masks go through the parts of the model."""
    seen: Counter[str] = Counter()

    def counted(name: str, size: Callable[..., int]) -> None:
        original = getattr(model, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen[name] += size(*args)
            seen[f"{name} calls"] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(model, name, call)

    counted("encode_image", lambda pixels, sizes: len(pixels))
    counted("encode_text", len)
    counted("encode_exemplars", lambda features, image_idx, exemplars: len(image_idx))
    counted("detect", lambda features, image_idx, prompt: len(image_idx))
    counted("decode_masks", lambda features, image_idx, prompt, raw, keep: int(keep.sum()))
    return seen
