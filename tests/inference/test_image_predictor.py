"""The predictor: any kind of picture, one encoding for all concepts, batches equal to single calls, nothing kept."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import masklet
from confident import CONFIDENT, confident_model
from masklet.errors import ImageError, InputError, PromptError
from masklet.inference import batches, questions
from masklet.inference.frame_result import FrameResult
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.stages import timed_stages
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.types import Exemplar, ImageFeatures
from predictor_cases import BOX, CONCEPTS, FIRST, OTHER_BOX, SECOND, THIRD, assert_same

# --- one picture ------------------------------------------------------------------------------------------------------


def test_a_result_is_complete(predictor: ImagePredictor) -> None:
    result = predictor.segment(FIRST, "dog")
    assert isinstance(result, FrameResult)
    assert 0 < len(result) < 12
    assert (result.concept, result.model, result.image_size_hw) == ("dog", "test", (60, 90))
    assert result.masks.shape == (len(result), 60, 90)
    assert result.areas.max() > 0
    assert (np.diff(result.scores) <= 0).all()
    assert (result.scores > 0.23).all()
    assert 0 < result.presence < 1
    assert (result.boxes_xyxy >= 0).all()
    assert (result.boxes_xyxy <= [90, 60, 90, 60]).all()


def test_the_masks_are_those_of_the_model(model: Detector, predictor: ImagePredictor) -> None:
    """The whole chain once more, by hand and without any of its shortcuts."""
    from torch.nn.functional import interpolate

    from masklet.media.images import to_pixels
    from masklet.model.detector import concat_prompts
    from masklet.model.tokenizer import Tokenizer
    from masklet.types import ExemplarBatch

    result = predictor.segment(FIRST, "dog", threshold=0.0)
    with torch.no_grad():
        features = model.encode_image(to_pixels(FIRST, model.config.vision.image_size))
        text = model.encode_text(Tokenizer(model.config.text.context, model.config.text.merges)(["dog"]))
        zero = torch.zeros(1, dtype=torch.int64)
        prompt = concat_prompts(text, model.encode_exemplars(features, zero, ExemplarBatch.empty(1)))
        raw = model.detect(features, zero, prompt)
        logits = model.decode_masks(features, zero, prompt, raw, torch.ones(1, 12, dtype=torch.bool))[0]
        scores, order = (raw.class_logits.sigmoid() * raw.presence_logits.sigmoid()[:, None])[0].sort(descending=True)
        masks = interpolate(logits[None], (60, 90), mode="bilinear")[0] > 0
    np.testing.assert_allclose(result.scores, scores.numpy(), atol=1e-5)
    assert np.mean(result.masks != masks[order].numpy()) < 1e-3


def test_every_kind_of_picture_gives_the_same(predictor: ImagePredictor, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(FIRST).save(path)
    expected = predictor.segment(FIRST, "dog")
    assert expected.image == "image"
    kinds: tuple[Any, ...] = (path, str(path), Image.fromarray(FIRST), predictor.encode(path))
    for kind in kinds:
        result = predictor.segment(kind, "dog")
        assert_same(result, expected, names=False)
        assert result.image == ("image" if isinstance(kind, Image.Image) else str(path))
    assert predictor.segment(path, "dog").overlay().size[0] >= 90
    with pytest.raises(InputError, match="pass it as image="):
        predictor.segment(predictor.encode(path), "dog").overlay()


def test_a_concept_that_is_not_there_is_no_error(predictor: ImagePredictor, counts: Counter[str]) -> None:
    result = predictor.segment(FIRST, "dog", threshold=0.99)
    assert len(result) == 0
    assert result.masks.shape == (0, 60, 90)
    assert result.boxes_xyxy.shape == (0, 4)
    assert 0 < result.presence < 1
    assert counts["decode_masks"] == 0


def test_the_predictor_holds_no_picture(predictor: ImagePredictor) -> None:
    before = dict(vars(predictor))
    predictor.segment(FIRST, "dog")
    assert vars(predictor) == before


def test_a_model_is_wanted() -> None:
    with pytest.raises(InputError, match="takes a model, got str"):
        ImagePredictor("sam3.pt")  # type: ignore[arg-type]


# --- many concepts, many pictures -------------------------------------------------------------------------------------


def test_concepts_share_one_encoding_of_the_picture(predictor: ImagePredictor, counts: Counter[str]) -> None:
    results = predictor.segment(FIRST, [*CONCEPTS, "dog"], exemplars=[BOX])
    assert [result.concept for result in results] == [*CONCEPTS, "dog"]
    assert counts["encode_image"] == 1
    assert counts["encode_text"] == len(CONCEPTS)  # each phrase once
    assert counts["encode_exemplars"] == 1
    assert counts["detect"] == len(CONCEPTS) + 1
    assert counts["decode_masks"] == sum(map(len, results)) > 0  # kept queries only
    predictor.segment(SECOND, CONCEPTS)
    assert counts["encode_text"] == len(CONCEPTS)


def test_prompts_run_in_parts_of_bounded_size(
    predictor: ImagePredictor, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictor.segment(FIRST, CONCEPTS)
    assert counts["detect calls"] == 1
    monkeypatch.setattr(questions, "tokens_at_once", lambda device: 3 * 36 + 35)  # a grid of 6 x 6: three prompts
    for mine, theirs in zip(predictor.segment(FIRST, CONCEPTS), whole, strict=True):
        assert_same(mine, theirs)
    assert (counts["detect"], counts["detect calls"]) == (2 * len(CONCEPTS), 3)
    monkeypatch.setattr(questions, "tokens_at_once", lambda device: 1)  # never none at all
    assert len(predictor.segment(FIRST, CONCEPTS)) == len(CONCEPTS)


@pytest.mark.parametrize("pictures", [1, 2, 5])
@pytest.mark.parametrize("exemplars", [False, True])
def test_a_batch_equals_single_calls(
    predictor: ImagePredictor, counts: Counter[str], monkeypatch: pytest.MonkeyPatch, pictures: int, exemplars: bool
) -> None:
    images, shown = [FIRST, SECOND, THIRD], [[BOX, OTHER_BOX], [], [Exemplar.point((7, 8))]] if exemplars else []
    single = [
        [predictor.segment(image, concept, exemplars=one) for concept in CONCEPTS]
        for image, one in zip(images, shown or [[]] * 3, strict=True)
    ]
    counts.clear()
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: pictures)
    together = predictor.segment(images, CONCEPTS, exemplars=shown)
    assert counts["encode_image calls"] == -(-3 // pictures)
    features = predictor.segment(list(predictor.encode(images)), CONCEPTS, exemplars=shown)
    for rows in (together, features):
        for mine, theirs in zip(rows, single, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert_same(one, other)
    assert [row.image_size_hw for row in predictor.segment(images, "dog")] == [(60, 90), (75, 50), (33, 120)]


def test_a_mixture_of_pictures_and_features(
    predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch, counts: Counter[str]
) -> None:
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: 4)
    mixed = [FIRST, predictor.encode(SECOND), predictor.encode(THIRD, image_size=56), THIRD, FIRST]
    counts.clear()
    results = predictor.segment(mixed, "dog")
    assert counts["encode_image"] == 3
    assert counts["encode_image calls"] == 2
    assert [result.image_size_hw for result in results] == [(60, 90), (75, 50), (33, 120), (33, 120), (60, 90)]
    assert_same(results[1], predictor.segment(SECOND, "dog"))
    assert_same(results[2], predictor.segment(THIRD, "dog", image_size=56))
    assert_same(results[4], results[0])


def test_pictures_are_read_ahead_on_accelerators(predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [FIRST, SECOND, THIRD, SECOND, FIRST]
    single = [predictor.segment(image, "dog") for image in images]
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: 2)
    monkeypatch.setattr(batches, "readers", lambda device: 3)
    meet = threading.Barrier(3, timeout=20)  # passed only if three are read at once
    numbers, plain = itertools.count(), batches.read_square

    def read_square(*arguments: Any, **options: Any) -> Any:
        if next(numbers) < 3:
            meet.wait()
        return plain(*arguments, **options)

    monkeypatch.setattr(batches, "read_square", read_square)
    for mine, theirs in zip(predictor.segment(images, "dog"), single, strict=True):
        assert_same(mine, theirs)
    assert next(numbers) == len(images)


def test_nothing_to_do(predictor: ImagePredictor) -> None:
    assert predictor.segment([], "dog") == []
    assert predictor.segment([], ["dog"]) == []
    assert predictor.segment(FIRST, []) == []
    assert predictor.segment([FIRST, SECOND], []) == [[], []]
    with pytest.raises(InputError, match="at least one picture"):
        predictor.encode([])


def test_a_model_without_summary_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's format has no summary token where there are no exemplars, whoever shares the batch."""
    geometry = replace(CONFIDENT.geometry, cls_without_exemplars=False, points=False)
    predictor = ImagePredictor(build_model(replace(CONFIDENT, geometry=geometry), seed=0))
    single = [predictor.segment(FIRST, "dog", exemplars=[BOX]), predictor.segment(SECOND, "dog")]
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: 2)
    for mine, theirs in zip(predictor.segment([FIRST, SECOND], "dog", exemplars=[[BOX], []]), single, strict=True):
        assert_same(mine, theirs)
    with pytest.raises(PromptError, match="no weights for exemplar points"):
        predictor.segment(FIRST, "dog", exemplars=[Exemplar.point((3, 4))])


# --- thresholds and duplicates ----------------------------------------------------------------------------------------


def test_each_concept_has_its_threshold(predictor: ImagePredictor) -> None:
    everything = predictor.segment(FIRST, ["dog", "cat"], threshold=0)
    limits = [float(result.scores[k]) for result, k in zip(everything, (3, 7), strict=True)]
    found = predictor.segment(FIRST, ["dog", "cat"], threshold=limits)
    assert [len(result) for result in found] == [3, 7]
    assert len(predictor.segment(FIRST, ["dog", "cat"], threshold=limits[0])[0]) == 3


def test_duplicates_go_when_asked(predictor: ImagePredictor) -> None:
    everything = predictor.segment(FIRST, ["dog", "cat"], threshold=0.0)
    assert [len(result) for result in everything] == [12, 12]
    within = predictor.segment(FIRST, ["dog", "cat"], threshold=0.0, nms_iou=0.3)
    across = predictor.segment(FIRST, ["dog", "cat"], threshold=0.0, nms_iou=0.3, nms_across=True)
    kept, best = [len(result) for result in within], [len(result) for result in across]
    assert all(0 < number < 12 for number in kept)
    assert 0 < sum(best) < sum(kept)
    masks = np.concatenate([result.masks for result in across]).reshape(sum(best), -1).astype(np.int64)
    shared = masks @ masks.T
    iou = shared / np.maximum(np.add.outer(np.diag(shared), np.diag(shared)) - shared, 1)
    # Removed at the mask head's resolution, measured here at the picture's.
    assert (iou - np.eye(len(iou))).max() < 0.4


def test_the_models_own_choice_of_duplicates() -> None:
    choice = replace(CONFIDENT, selection=replace(CONFIDENT.selection, nms_iou=0.3))
    predictor = ImagePredictor(build_model(choice, seed=0))
    assert len(predictor.segment(FIRST, "dog", threshold=0)) < 12
    assert len(predictor.segment(FIRST, "dog", threshold=0, nms_iou=None)) == 12


def test_across_pictures_nothing_competes(predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "pictures_at_once", lambda device: 2)
    one = predictor.segment(FIRST, ["dog", "cat"], nms_iou=0.3, nms_across=True)
    for row in predictor.segment([FIRST, FIRST], ["dog", "cat"], nms_iou=0.3, nms_across=True):
        for mine, theirs in zip(row, one, strict=True):
            assert_same(mine, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold must be in 0..1, got 1.5"),
        ({"threshold": float("nan")}, "threshold must be in 0..1, got nan"),
        ({"threshold": [0.5, 0.5]}, "one for each of 1 concepts, got 2"),
        ({"threshold": "high"}, "one for each of 1 concepts, got 4"),
        ({"nms_iou": -1}, "nms_iou must be in 0..1, None or 'auto', got -1"),
        ({"nms_iou": "none"}, "got 'none'"),
        ({"nms_across": True, "nms_iou": None}, "nms_across needs nms_iou"),
        ({"image_size": 85}, "positive multiple of the patch size 14, got 85"),
        ({"image_size": 0}, "got 0"),
    ],
)
def test_wrong_options(predictor: ImagePredictor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predictor.segment(FIRST, "dog", **options)


# --- numbers, threads, time -------------------------------------------------------------------------------------------


def test_bfloat16(model: Detector) -> None:
    full = ImagePredictor(model).segment(FIRST, CONCEPTS, threshold=0, exemplars=[BOX])
    low = ImagePredictor(confident_model().bfloat16()).segment(FIRST, CONCEPTS, threshold=0, exemplars=[BOX])
    for mine, theirs in zip(low, full, strict=True):
        assert mine.scores.dtype == np.float32
        # 8 bits of mantissa through some ten layers.
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=0.03)


def test_no_gradients(predictor: ImagePredictor) -> None:
    features = predictor.encode(FIRST)
    assert not any(level.requires_grad or level.is_inference() for level in features.levels)
    assert torch.is_grad_enabled()


def test_a_model_that_breaks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = confident_model()

    def broken(pixels: Tensor, sizes: Any, **options: Any) -> ImageFeatures:
        features = Detector.encode_image(model, pixels, sizes, **options)
        return replace(features, levels=tuple(level * float("nan") for level in features.levels))

    monkeypatch.setattr(model, "encode_image", broken)
    with pytest.raises(InputError, match="not finite"):
        ImagePredictor(model).segment(FIRST, "dog")


def test_threads_share_a_predictor(predictor: ImagePredictor) -> None:
    images = [FIRST, SECOND, THIRD]
    expected = [[predictor.segment(image, concept) for concept in CONCEPTS] for image in images]
    fresh = ImagePredictor(predictor.model)
    failures: list[BaseException] = []

    def work(offset: int) -> None:
        try:
            for step in range(6):
                image, concept = (offset + step) % 3, (offset * 2 + step) % 4
                assert_same(fresh.segment(images[image], CONCEPTS[concept]), expected[image][concept])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_time_is_measured_only_when_asked(predictor: ImagePredictor, tmp_path: Path) -> None:
    Image.fromarray(FIRST).save(tmp_path / "a.png")
    with timed_stages() as seconds:
        predictor.segment(tmp_path / "a.png", "dog")
    assert list(seconds) == ["text", "decode", "encode", "detect", "masks"]
    assert all(value > 0 for value in seconds.values())
    before = dict(seconds)
    predictor.segment(tmp_path / "a.png", "dog")
    assert seconds == before


# --- bad pictures and phrases -----------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_used(predictor: ImagePredictor, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        predictor.segment(tmp_path / "missing.jpg", "dog")
    with pytest.raises(ImageError, match=r"got builtins\.int"):
        predictor.segment(7, "dog")  # type: ignore[call-overload]
    with pytest.raises(ImageError, match=r"expected at most 0\.001 megapixels"):
        ImagePredictor(predictor.model, max_pixels=1000).segment(FIRST, "dog")


@pytest.mark.parametrize("concept", ["", "  ", ["dog", "\t"]])
def test_empty_concepts_are_found_out_before_the_picture(
    predictor: ImagePredictor, counts: Counter[str], concept: Any
) -> None:
    with pytest.raises(PromptError, match="at least one visible character"):
        predictor.segment(FIRST, concept)
    with pytest.raises(PromptError, match="must be text, got int"):
        predictor.segment(FIRST, ["dog", 3])  # type: ignore[list-item]
    assert counts["encode_image"] == 0


def test_public_names() -> None:
    assert set(masklet.__all__) >= {"ImagePredictor", "Exemplar", "FrameResult", "load_model", "build_model"}
    assert masklet.ImagePredictor is ImagePredictor
    assert all(getattr(masklet, name) is not None for name in masklet.__all__)
