"""A grid of clicks: which masks stay, against plain comparisons of all pairs, and that they are those of the clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from masklet import FrameResult, InteractivePredictor
from masklet.errors import InputError
from masklet.inference import everything, object_masks
from masklet.inference.everything import EverythingRules, FoundMask, click_grid, distinct_masks, good_masks
from masklet.model.build import build_model
from masklet.types import MaskCandidates, TrackerFeatures
from predictor_cases import FIRST

HEIGHT, WIDTH = FIRST.shape[:2]
Bools = npt.NDArray[np.bool_]


def candidates_of(logits: torch.Tensor, quality: list[float]) -> MaskCandidates:
    """(N, h, w) as the candidates of N clicks."""
    count = len(logits)
    return MaskCandidates(
        mask_logits=logits[:, None],
        quality=torch.tensor(quality)[:, None],
        sight_logits=torch.zeros(count),
        tokens=torch.zeros(count, 1, 1),
    )


def rectangles(seed: int, count: int = 40) -> torch.Tensor:
    """Logits of rectangles, many of them nearly the same; the outside is not the same everywhere."""
    rng = np.random.default_rng(seed)
    logits = -rng.uniform(1.5, 9, (count, 23, 31)).astype(np.float32)
    for k, mask in enumerate(logits):
        y, x = rng.integers(0, 3, 2) + [(0, 0), (0, 14), (9, 2), (11, 20)][k % 4]
        mask[y : y + rng.integers(7, 10), x : x + rng.integers(7, 11)] *= -1
    return torch.from_numpy(logits)


def iou(one: Bools, other: Bools) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def pixels(one: FoundMask, size_hw: tuple[int, int]) -> Bools:
    found: Bools = one.whole(size_hw).numpy() > 0
    return found


def found_masks(logits: torch.Tensor, quality: list[float], **limits: float) -> list[FoundMask]:
    rules = EverythingRules(**{"min_quality": 0.0, "min_stability": 0.0, **limits})  # type: ignore[arg-type]
    return list(good_masks(candidates_of(logits, quality), rules))


# --- which masks stay -------------------------------------------------------------------------------------------------


def test_quality_is_strict_and_stability_is_not() -> None:
    logits = torch.full((4, 10, 10), -5.0)
    logits[:, :4, :5] = 5.0  # 20 pixels that stay
    logits[1, 4, :5] = 0.5  # 5 that come with a lower threshold: stability 0.8
    logits[3] = -0.5  # nothing inside
    quality = [0.5, 0.9, 0.75, 0.9]
    assert [one.quality for one in found_masks(logits, quality)] == pytest.approx([0.5, 0.9, 0.75])
    assert [one.quality for one in found_masks(logits, quality, min_quality=0.5)] == pytest.approx([0.9, 0.75])
    assert len(found_masks(logits, quality, min_stability=0.8)) == 3
    assert [one.quality for one in found_masks(logits, quality, min_stability=0.81)] == pytest.approx([0.5, 0.75])


def test_the_grid_goes_row_by_row() -> None:
    batch = click_grid(2, (40, 80), torch.device("cpu"))
    assert batch.points is not None
    assert batch.points.xy_px[:, 0].tolist() == [[20, 10], [60, 10], [20, 30], [60, 30]]
    assert batch.points.labels.tolist() == [[1]] * 4


def test_cut_out_masks_are_whole_where_it_counts() -> None:
    """Inside and the ring around it; the rest is outside as it was."""
    logits = rectangles(1)
    for mask, one in zip(logits, found_masks(logits, [0.5] * len(logits)), strict=True):
        whole = one.whole((23, 31))
        inside = mask > 0
        assert torch.equal(whole > 0, inside)
        ring = torch.nn.functional.max_pool2d(inside.float()[None], 3, stride=1, padding=1)[0] > 0
        assert torch.equal(whole[ring], mask[ring])
        assert one.area == int(inside.sum())
        assert one.logits.size < mask.numel()
        assert one.logits.base is None  # not a view into the masks of all clicks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [0.0, 0.4, 0.7, 1.0])
def test_duplicates_go_as_if_all_pairs_were_compared(seed: int, limit: float) -> None:
    logits = rectangles(seed)
    found = found_masks(logits, np.linspace(1, 0.5, len(logits)).tolist())
    kept: list[int] = []
    for k, mask in enumerate(logits):
        if all(iou((mask > 0).numpy(), (logits[other] > 0).numpy()) <= limit for other in kept):
            kept.append(k)
    assert [found.index(one) for one in distinct_masks(found, limit)] == kept
    assert limit == 1 or len(kept) < len(logits)


def test_masks_far_apart_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[FoundMask, FoundMask]] = []
    original = everything._iou
    monkeypatch.setattr(everything, "_iou", lambda one, other: compared.append((one, other)) or original(one, other))
    logits = torch.full((64, 33, 33), -3.0)
    for k in range(64):
        logits[k, 4 * (k // 8) : 4 * (k // 8) + 3, 4 * (k % 8) : 4 * (k % 8) + 3] = 3.0
    assert len(distinct_masks(found_masks(torch.cat((logits, logits)), [0.9] * 128), 0.7)) == 64
    assert len(compared) == 64  # each second one with its twin


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor() -> InteractivePredictor:
    return InteractivePredictor(build_model("test", seed=0))


OPEN: dict[str, Any] = {"points_per_side": 5, "min_quality": 0.0, "min_stability": 0.0}


def test_the_masks_of_all_clicks(predictor: InteractivePredictor) -> None:
    """With all limits open the result holds every candidate of `segment` at the middles of 5 x 5 parts, best first."""
    features = predictor.encode(FIRST)
    result = predictor.everything(features, **OPEN, nms_iou=1.0)
    clicks = [((x + 0.5) / 5 * WIDTH, (y + 0.5) / 5 * HEIGHT) for y in range(5) for x in range(5)]
    answers = [predictor.segment(features, points=[click]) for click in clicks]
    assert isinstance(result, FrameResult)
    assert result.concept == "everything"
    assert result.presence == pytest.approx(max(answer.presence for answer in answers), abs=1e-5)
    scores = np.sort(np.concatenate([answer.scores for answer in answers]))[::-1]
    np.testing.assert_allclose(result.scores, scores, atol=1e-5)
    expected = np.concatenate([answer.masks for answer in answers])
    for score, mask in zip(result.scores, result.masks, strict=True):
        near = np.abs(np.concatenate([answer.scores for answer in answers]) - score) < 1e-5
        assert min(np.mean(mask != other) for other in expected[near]) < 1e-3  # pixels on the edge
    for box, mask in zip(result.boxes_xyxy, result.masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_limits(predictor: InteractivePredictor) -> None:
    features = predictor.encode(FIRST)
    every = predictor.everything(features, **OPEN, nms_iou=1.0)
    distinct = predictor.everything(features, **OPEN, nms_iou=0.6)
    assert 1 < len(distinct) < len(every)
    middle = float(np.median(every.scores))
    better = predictor.everything(features, **{**OPEN, "min_quality": middle}, nms_iou=1.0)
    assert len(better) == np.sum(every.scores > middle)
    assert len(predictor.everything(features, points_per_side=3, min_quality=1.0)) == 0
    assert len(predictor.everything(features, points_per_side=3, min_quality=0.0, min_stability=1.0)) == 0
    nothing = predictor.everything(features, **OPEN, sprinkle_area=288**2)
    assert len(nothing) == 0
    assert nothing.boxes_xyxy.shape == (0, 4)


def test_overlay_and_files(predictor: InteractivePredictor, tmp_path: Any) -> None:
    result = predictor.everything(FIRST, **OPEN)
    assert result.save(tmp_path).name == "everything"
    assert result.overlay().size >= (WIDTH, HEIGHT)


def test_parts_of_bounded_memory(predictor: InteractivePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    features = predictor.encode(FIRST)
    expected = predictor.everything(features, **OPEN)
    monkeypatch.setattr(object_masks, "objects_at_once", lambda device, grid_hw: 4)
    sizes: list[int] = []
    tracker = predictor.model.tracker
    assert tracker is not None
    original = tracker.candidates

    def candidates(features: TrackerFeatures, points: Any, **options: Any) -> MaskCandidates:
        sizes.append(len(points))
        return original(features, points, **options)

    monkeypatch.setattr(tracker, "candidates", candidates)
    found = predictor.everything(features, **OPEN)
    assert sizes == [4] * 6 + [1]
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_numbers_that_are_not_finite_are_refused() -> None:
    """Though no mask of them would be above a limit."""
    model = build_model("test", seed=0)
    assert model.tracker is not None
    with torch.no_grad():
        model.tracker.mask_decoder.sight_token.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        InteractivePredictor(model).everything(FIRST, points_per_side=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be a whole number of at least 1, got 0"),
        ({"points_per_side": 2.5}, "got 2.5"),
        ({"min_quality": 1.5}, "min_quality must be in 0..1, got 1.5"),
        ({"min_stability": float("nan")}, "min_stability must be in 0..1, got nan"),
        ({"nms_iou": -1}, "nms_iou must be in 0..1, got -1"),
    ],
)
def test_bad_rules(predictor: InteractivePredictor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        predictor.everything(FIRST, **options)
    assert message in str(caught.value)
