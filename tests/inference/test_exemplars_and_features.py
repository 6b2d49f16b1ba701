"""Exemplars of this picture or another one, and pictures' features as values."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from confident import CONFIDENT, confident_model
from masklet.errors import DataError, InputError, PromptError
from masklet.inference import batches
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.types import Exemplar, ImageFeatures
from predictor_cases import BOX, FIRST, OTHER_BOX, SECOND, THIRD, assert_same

# --- exemplars --------------------------------------------------------------------------------------------------------


def test_exemplars_change_the_answer(predictor: ImagePredictor) -> None:
    mask = np.zeros((60, 90), dtype=bool)
    mask[20:55, 10:40] = True
    given: dict[str, list[Exemplar]] = {
        "none": [],
        "box": [BOX],
        "negative box": [replace(BOX, positive=False)],
        "point": [Exemplar.point((25, 40))],
        "negative point": [Exemplar.point((25, 40), positive=False)],
        "both": [BOX, OTHER_BOX],
    }
    answers = {name: predictor.segment(FIRST, "dog", exemplars=e, threshold=0) for name, e in given.items()}
    scores = [result.scores for result in answers.values()]
    for k, mine in enumerate(scores):
        for theirs in scores[k + 1 :]:
            assert np.abs(mine - theirs).max() > 1e-4
    # A mask acts through its tight box.
    assert_same(predictor.segment(FIRST, "dog", exemplars=[Exemplar.mask(mask)], threshold=0), answers["box"])


def test_exemplars_alone_ask_for_visual(predictor: ImagePredictor) -> None:
    result = predictor.segment(FIRST, exemplars=[BOX])
    assert result.concept == "visual"
    assert_same(result, predictor.segment(FIRST, "visual", exemplars=[BOX]))
    for exemplars in ([], [[]]):
        with pytest.raises(PromptError, match="got neither"):
            predictor.segment([FIRST], exemplars=exemplars)
    with pytest.raises(PromptError, match="got neither"):
        predictor.segment(FIRST)


def test_an_exemplar_from_another_picture(predictor: ImagePredictor, counts: Counter[str]) -> None:
    """The same picture as its own reference gives the same answer; another one another; features will do."""
    expected = predictor.segment(FIRST, "dog", exemplars=[BOX])
    assert_same(predictor.segment(FIRST, "dog", exemplars=[BOX], exemplar_image=FIRST), expected)
    counts.clear()
    rows = predictor.segment([SECOND, FIRST], ["dog", "cat"], exemplars=[BOX], exemplar_image=predictor.encode(FIRST))
    assert (counts["encode_image"], counts["encode_exemplars"]) == (3, 1)
    assert_same(rows[1][0], expected)
    assert np.abs(rows[0][0].presence - predictor.segment(SECOND, "dog").presence) > 1e-6
    # The exemplar must fit the picture that it lies on, not the one that is asked about.
    predictor.segment(SECOND, "dog", exemplars=[Exemplar((60, 5, 85, 50))], exemplar_image=FIRST)
    with pytest.raises(PromptError, match="must overlap the picture"):
        predictor.segment(FIRST, "dog", exemplars=[Exemplar((5, 62, 45, 70))], exemplar_image=FIRST)


def test_another_picture_serves_a_whole_batch(predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: 3)
    rows = predictor.segment([SECOND, THIRD], "dog", exemplars=[BOX], exemplar_image=FIRST)
    assert_same(rows[1], predictor.segment(THIRD, "dog", exemplars=[BOX], exemplar_image=FIRST))


@pytest.mark.parametrize(
    ("image", "exemplars", "message"),
    [
        (FIRST, [(1, 2, 3, 4)], "a list of Exemplar, got"),
        (FIRST, BOX, "a list of Exemplar, got"),
        ([FIRST, SECOND], [BOX, BOX], "one list of Exemplar for each picture"),
        ([FIRST, SECOND], [[BOX]], "must be 2 lists, got 1"),
    ],
)
def test_wrong_exemplars(predictor: ImagePredictor, image: Any, exemplars: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        predictor.segment(image, "dog", exemplars=exemplars)


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_are_a_value(predictor: ImagePredictor, model: Detector, counts: Counter[str]) -> None:
    features = predictor.encode(FIRST)
    assert isinstance(features, ImageFeatures)
    expected = predictor.segment(FIRST, "dog")
    counts.clear()
    assert_same(predictor.segment(features, "dog"), expected)
    assert_same(ImagePredictor(model).segment(features, "dog"), expected)  # another predictor of the model
    assert counts["encode_image"] == 0
    # Half of the numbers' digits are gone, the answer stays about the same.
    low = predictor.segment(features.to(dtype=torch.bfloat16), "dog", threshold=0)
    assert low.scores[0] == pytest.approx(predictor.segment(FIRST, "dog", threshold=0).scores[0], abs=0.02)


def test_features_on_disk(predictor: ImagePredictor, tmp_path: Path) -> None:
    Image.fromarray(SECOND).save(tmp_path / "b.png")
    predictor.save_features(predictor.encode([FIRST, tmp_path / "b.png"]), tmp_path / "both.safetensors")
    features = predictor.load_features(tmp_path / "both.safetensors")
    assert features.names == ("image", str(tmp_path / "b.png"))
    results = predictor.segment(list(features), "dog")
    assert_same(results[1], predictor.segment(tmp_path / "b.png", "dog"))
    with pytest.raises(DataError, match="another model"):
        ImagePredictor(confident_model(seed=1)).load_features(tmp_path / "both.safetensors")


def test_features_that_do_not_fit(predictor: ImagePredictor) -> None:
    both = predictor.encode([FIRST, SECOND])
    assert (len(both), [len(one) for one in both]) == (2, [1, 1])
    with pytest.raises(InputError, match=r"must be of one, got 2; pass list\(features\)"):
        predictor.segment(both, "dog")
    with pytest.raises(InputError, match="image_size is for pictures"):
        predictor.segment(both.select(0), "dog", image_size=56)
    foreign = ImagePredictor(build_model(replace(CONFIDENT, width=32), seed=0)).encode(FIRST)
    with pytest.raises(InputError, match=r"must have 16 channels, got \[32\]"):
        predictor.segment(foreign, "dog")


def test_another_input_size(predictor: ImagePredictor) -> None:
    small = predictor.encode(FIRST, image_size=56)
    assert [level.shape[-1] for level in small.levels] == [16, 8, 4]
    assert_same(predictor.segment(FIRST, "dog", image_size=56), predictor.segment(small, "dog"))
    assert predictor.segment(FIRST, "dog", image_size=112).masks.shape[1:] == (60, 90)
