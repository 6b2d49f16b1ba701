"""The predictor: any kind of picture, one encoding for all concepts, batches equal to single calls, nothing kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import masklet
from confident import CONFIDENT, confident_model, picture
from masklet.errors import DataError, ImageError, InputError, PromptError
from masklet.inference import batches, questions
from masklet.inference.frame_result import FrameResult
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.stages import timed_stages
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.types import Exemplar, ImageFeatures

FIRST, SECOND, THIRD = picture(60, 90, 1), picture(75, 50, 2), picture(33, 120, 3)
CONCEPTS = ["dog", "a red bus", "🍎", "two green apples"]
BOX, OTHER_BOX = Exemplar((10, 20, 40, 55)), Exemplar((5, 5, 45, 30), positive=False)


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


def assert_same(mine: FrameResult, theirs: FrameResult, *, names: bool = True) -> None:
    """Equal up to the order of additions, which differs between batches: about 1e-7 of a value."""
    assert (mine.concept, mine.image_size_hw, len(mine)) == (theirs.concept, theirs.image_size_hw, len(theirs))
    assert not names or mine.image == theirs.image
    assert mine.presence == pytest.approx(theirs.presence, abs=1e-5)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-5)
    np.testing.assert_allclose(mine.boxes_xyxy, theirs.boxes_xyxy, atol=1e-2)
    # A pixel on the edge of a mask may fall to either side.
    assert np.mean(mine.masks != theirs.masks) < 1e-3 if len(mine) else True


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

    def broken(pixels: Tensor, sizes: Any) -> ImageFeatures:
        features = Detector.encode_image(model, pixels, sizes)
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
