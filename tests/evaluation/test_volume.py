from collections.abc import Callable, Sequence

import numpy as np
import pytest

from masklet.evaluation.matching import FloatArray
from masklet.evaluation.video_files import VideoMasklet, read_video_ground_truth, read_video_predictions
from masklet.evaluation.volume import FrameOverlaps, box_overlaps, mask_overlaps
from masklet.ops.masks import decode_rle
from video_cases import CAT, HEIGHT, WIDTH, example_d, ground_truth, masklet, random_files

MakeOverlaps = Callable[[Sequence[VideoMasklet], Sequence[VideoMasklet], int], FrameOverlaps]


def one_video(seed: int) -> tuple[list[VideoMasklet], list[VideoMasklet], int]:
    """Predicted and true masklets of the first video, with its number of frames."""
    content, predicted = random_files(seed)
    truth = read_video_ground_truth(content)
    found = [one for one in read_video_predictions(predicted, truth) if one.video_id == 1]
    return found, [one for one in truth.masklets if one.video_id == 1], truth.videos[1].frame_count


def pixels(one: VideoMasklet, by_box: bool) -> np.ndarray:
    """(F, H, W) the slow obvious way."""
    volume = np.zeros((len(one.rles), HEIGHT, WIDTH), dtype=np.bool_)
    for frame, (rle, box) in enumerate(zip(one.rles, one.boxes_xyxy.astype(int), strict=True)):
        if by_box:
            volume[frame, box[1] : box[3], box[0] : box[2]] = True
        elif rle is not None:
            volume[frame] = decode_rle(rle)
    return volume


def slow_volume_iou(predicted: VideoMasklet, true: VideoMasklet, by_box: bool) -> float:
    one, other = pixels(predicted, by_box), pixels(true, by_box)
    return (one & other).sum() / (one | other).sum() if (one | other).any() else 1.0


@pytest.mark.parametrize("by_box", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_volumes_and_frames_against_counted_pixels(seed: int, by_box: bool) -> None:
    predicted, true, frames = one_video(seed)
    overlaps = (box_overlaps if by_box else mask_overlaps)(predicted, true, frames)
    volume, frame_iou = overlaps.volume_iou(), overlaps.frame_iou()
    assert volume.shape == (len(predicted), len(true)) and frame_iou.shape == (frames, *volume.shape)
    for d, one in enumerate(predicted):
        for g, other in enumerate(true):
            assert volume[d, g] == slow_volume_iou(one, other, by_box)
            first, second = pixels(one, by_box), pixels(other, by_box)
            for frame in range(frames):
                union = (first[frame] | second[frame]).sum()
                both = one.present[frame] and other.present[frame]
                expected = (first[frame] & second[frame]).sum() / union if both else 0.0
                assert frame_iou[frame, d, g] == expected


@pytest.mark.parametrize("make", [mask_overlaps, box_overlaps])
def test_example_d(make: MakeOverlaps) -> None:
    content, predicted = example_d()
    truth = read_video_ground_truth(content)
    volume: FloatArray = make(read_video_predictions(predicted, truth)[:3], truth.masklets, 4).volume_iou()
    assert volume.tolist() == [[0.9, 0.0], [0.0, 0.5], [0.0, 0.5]]


@pytest.mark.parametrize("make", [mask_overlaps, box_overlaps])
def test_nobody_and_nothing(make: MakeOverlaps) -> None:
    truth = read_video_ground_truth(ground_truth([masklet(CAT, {}), masklet(CAT, {2: (3, 3, 4, 5)})], [(1, CAT)]))
    absent, there = truth.masklets
    assert make([], [absent], 4).volume_iou().shape == (0, 1)
    assert make([there], [], 4).frame_iou().shape == (4, 1, 0)
    # Two that are nowhere are the same; one that is nowhere overlaps no other.
    assert make([absent, there], [absent, there], 4).volume_iou().tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_masks_and_boxes_are_told_apart() -> None:
    record = masklet(CAT, {0: (0, 0, 10, 10)}, frames=1)
    truth = read_video_ground_truth(ground_truth([record], [(1, CAT)], frames=1))
    (one,) = read_video_predictions([record | {"bboxes": [[0, 0, 10, 5]], "score": 1.0}], truth)
    assert mask_overlaps([one], truth.masklets, 1).volume_iou().tolist() == [[1.0]]
    assert box_overlaps([one], truth.masklets, 1).volume_iou().tolist() == [[0.5]]


def test_a_frame_with_a_mask_but_no_box_has_volume_but_is_not_present() -> None:
    record = masklet(CAT, {0: (0, 0, 10, 10)}, frames=1)
    truth = read_video_ground_truth(ground_truth([record], [(1, CAT)], frames=1))
    (one,) = read_video_predictions([record | {"bboxes": [None], "score": 1.0}], truth)
    overlaps = mask_overlaps([one], truth.masklets, 1)
    assert overlaps.volume_iou().tolist() == [[1.0]] and overlaps.frame_iou().tolist() == [[[0.0]]]
    assert not overlaps.predicted_present.any() and overlaps.true_present.all()


def test_some_masklets_only() -> None:
    predicted, true, frames = one_video(3)
    assert len(predicted) > 2 and len(true) > 1
    overlaps = mask_overlaps(predicted, true, frames)
    first, last = np.arange(len(predicted)) < 2, np.array([len(true) - 1])
    chosen = overlaps.select(first, last)
    assert np.array_equal(chosen.volume_iou(), overlaps.volume_iou()[:2, -1:])
    assert np.array_equal(chosen.frame_iou(), overlaps.frame_iou()[:, :2, -1:])
