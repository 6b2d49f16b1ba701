import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError
from masklet.evaluation.video_files import read_video_ground_truth, read_video_predictions
from masklet.ops.masks import decode_rle
from video_cases import CAT, COW, DOG, example_d, filled, ground_truth, masklet


def test_what_a_file_holds(tmp_path: Path) -> None:
    content, predicted = example_d()
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "predicted.json").write_text(json.dumps(predicted))
    truth = read_video_ground_truth(tmp_path / "truth.json")
    video = truth.videos[1]
    assert (video.video_id, video.name, video.size_hw, video.frame_count) == (1, "video 1", (20, 40), 4)
    assert truth.categories == {1: "phrase 1", 2: "phrase 2", 3: "phrase 3"}
    assert truth.pairs == {(1, CAT), (1, DOG), (1, COW)}
    assert [one.present.tolist() for one in truth.masklets] == [[True] * 4, [True, True, False, False]]
    assert truth.masklets[1].boxes_xyxy.tolist() == [[20, 0, 30, 10]] * 2 + [[0] * 4] * 2
    rle = truth.masklets[1].rles[1]
    assert rle is not None and (decode_rle(rle) == filled((20, 0, 10, 10))).all()

    found = read_video_predictions(str(tmp_path / "predicted.json"), truth)
    assert [(one.pair, one.score, one.is_crowd) for one in found] == [
        ((1, CAT), 0.9, False),
        ((1, CAT), 0.8, False),
        ((1, CAT), 0.7, False),
        ((1, DOG), 0.6, False),
        ((1, COW), 0.4, False),
    ]


def test_records_are_not_changed() -> None:
    content, predicted = example_d()
    before = copy.deepcopy((content, predicted))
    read_video_predictions(predicted, read_video_ground_truth(content))
    assert (content, predicted) == before


@pytest.mark.parametrize("absent_mask", [None, {"size": [20, 40], "counts": [800]}, []])
@pytest.mark.parametrize("absent_box", [None, [0, 0, 0, 0], [0.0] * 4])
def test_an_absent_frame_has_many_forms(absent_mask: object, absent_box: object) -> None:
    record = masklet(CAT, {0: (1, 2, 3, 4)}, frames=2)
    record["segmentations"][1], record["bboxes"][1] = absent_mask, absent_box
    (one,) = read_video_ground_truth(ground_truth([record], [(1, CAT)], frames=2)).masklets
    assert one.rles[1] is None and one.boxes_xyxy[1].tolist() == [0] * 4 and one.present.tolist() == [True, False]


def test_without_boxes_they_are_those_of_the_masks() -> None:
    record = masklet(CAT, {1: (1, 2, 3, 4)}, frames=2)
    del record["bboxes"]
    (one,) = read_video_ground_truth(ground_truth([record], [(1, CAT)], frames=2)).masklets
    assert one.boxes_xyxy.tolist() == [[0, 0, 0, 0], [1, 2, 4, 6]]


def test_without_a_list_of_pairs_there_is_none() -> None:
    content, _ = example_d()
    del content["video_np_pairs"]
    assert read_video_ground_truth(content).pairs is None


def test_nothing_at_all() -> None:
    truth = read_video_ground_truth({"videos": [], "categories": [], "annotations": []})
    assert truth.masklets == () and read_video_predictions([], truth) == ()


def test_predictions_of_unknown_videos_and_phrases_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    content, predicted = example_d()
    strange = [masklet(CAT, {}, video_id=7, frames=9, score=0.9), masklet(8, {}, score=0.9), masklet(8, {}, score=0.1)]
    with caplog.at_level(logging.WARNING):
        found = read_video_predictions([*strange, *predicted], read_video_ground_truth(content))
    assert len(found) == len(predicted)
    assert "1 predictions left out, their video" in caplog.text
    assert "2 predictions left out, their phrase" in caplog.text


def changed(part: str, idx: int, **fields: Any) -> dict[str, Any]:
    content, _ = example_d()
    content[part][idx] |= fields
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object with videos, categories and annotations, got list"),
        (3, "must be the path of a JSON file or what it holds, got int"),
        ({"videos": []}, "must have a list 'categories', got NoneType"),
        ({"videos": 3, "categories": []}, "must have a list 'videos', got int"),
        ({"videos": [3], "categories": []}, r"videos\[0\] of ground truth must be an object, got int"),
        (changed("videos", 0, length=0), "must have an integer 'length' of at least 1, got 0"),
        (changed("videos", 0, height="20"), "must have an integer 'height' of at least 1, got '20'"),
        (changed("videos", 0, id=True), "must have an integer 'id', got True"),
        (changed("categories", 1, id=1), r"categories of ground truth must have an id each, got \[1\] more than once"),
        (
            changed("annotations", 1, video_id=2),
            r"annotations\[1\] of ground truth has video_id 2, which the file does",
        ),
        (changed("annotations", 1, category_id=9), r"annotations\[1\] of ground truth has category_id 9, which"),
        (changed("annotations", 0, segmentations=[None]), "one entry for each of the 4 frames of video 1, got 1"),
        (changed("annotations", 0, segmentations=None), "one entry for each of the 4 frames of video 1, got NoneType"),
        (changed("annotations", 0, bboxes=[None] * 5), "'bboxes' with one entry for each of the 4 frames .* got 5"),
        (changed("annotations", 0, bboxes=[[1, 2, 3]] * 4), r"bboxes\[0\] of annotations\[0\] .* got \[1, 2, 3\]"),
        (changed("annotations", 0, bboxes=[[1, 2, -3, 4]] * 4), "not negative in size"),
        (changed("annotations", 0, bboxes=[[1, 2, float("nan"), 4]] * 4), "finite"),
        (changed("annotations", 0, bboxes=[7] * 4), "got 7"),
        (changed("annotations", 1, segmentations=[{"size": [40, 20]}] * 4), r"segmentations\[0\] of annotations\[1\]"),
        (changed("video_np_pairs", 0, num_masklets=0), "says num_masklets 0, but the file has 2 annotations"),
        (changed("video_np_pairs", 1, num_masklets=3), "says num_masklets 3, but the file has 0 annotations"),
        (changed("video_np_pairs", 1, video_id=5), r"video_np_pairs\[1\] of ground truth has video_id 5"),
    ],
)
def test_ground_truth_that_cannot_be_used(content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_video_ground_truth(content)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ({}, "must be a list of predictions, got an object"),
        ([3], "record 0 of predictions must be an object"),
        ([masklet(CAT, {})], "record 0 of predictions must have a score in 0..1, got None"),
        ([masklet(CAT, {}, score=1.5)], "got 1.5; scores are probabilities, not logits"),
        ([masklet(CAT, {}, score=float("nan"))], "got nan"),
        ([masklet(CAT, {}, score=1), masklet(CAT, {}, score=1, frames=3)], "record 1 of predictions .* 4 frames .* 3"),
        ([{"score": 0.5}], "must have an integer 'video_id', got None"),
    ],
)
def test_predictions_that_cannot_be_used(predicted: Any, message: str) -> None:
    truth = read_video_ground_truth(example_d()[0])
    with pytest.raises(DataError, match=message):
        read_video_predictions(predicted, truth)


def test_masks_of_another_size_are_refused() -> None:
    record = masklet(CAT, {}, score=0.9)
    record["segmentations"][2] = {"size": [40, 20], "counts": [800]}
    truth = read_video_ground_truth(example_d()[0])
    with pytest.raises(
        DataError, match=r"segmentations\[2\] of record 0 of predictions: expected a run-length code of 40 x 20 "
    ):
        read_video_predictions([record], truth)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.json cannot be read: No such file"):
        read_video_ground_truth(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(DataError, match=r"text\.json must be JSON"):
        read_video_ground_truth(tmp_path / "text.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="must be JSON"):
        read_video_ground_truth(tmp_path / "bytes.json")


def test_the_same_masklet_twice_stays_twice() -> None:
    one = masklet(CAT, {0: (1, 2, 3, 4)}, score=0.9)
    found = read_video_predictions([one, one], read_video_ground_truth(example_d()[0]))
    assert len(found) == 2 and np.array_equal(found[0].boxes_xyxy, found[1].boxes_xyxy)


def test_numbers_of_numpy_are_numbers() -> None:
    record = masklet(np.int64(CAT), {0: (1, 2, 3, 4)}, video_id=np.int64(1), score=np.float32(0.75))
    (one,) = read_video_predictions([record], read_video_ground_truth(example_d()[0]))
    assert (one.pair, one.score) == ((1, CAT), 0.75) and type(one.category_id) is int and type(one.score) is float
