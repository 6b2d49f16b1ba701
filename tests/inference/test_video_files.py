"""Files that are made of the results of a video: lines, MOT, YouTube-VIS, masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from follow_cases import ask, clip, documents, predictor
from full_disk import full_disk
from masklet.errors import DataError, OutputError
from masklet.evaluation.video_files import read_video_ground_truth, read_video_predictions
from masklet.inference.frame_lines import FrameLines, read_results
from masklet.inference.mask_sequences import MaskSequences
from masklet.inference.mot import write_mot
from masklet.inference.video_coco import write_video_coco
from masklet.inference.video_result import VideoResult


@pytest.fixture(scope="module")
def results() -> list[VideoResult]:
    with predictor().open(clip()) as video:
        ask(video)
        return list(video.propagate(pixels=False))


# --- lines ------------------------------------------------------------------------------------------------------------


def write_lines(path: Path, results: list[VideoResult]) -> int:
    with FrameLines(path) as lines:
        for result in results:
            lines.add(result)
        return lines.size


def test_lines_come_back_in_their_order_or_that_of_the_frames(results: list[VideoResult], tmp_path: Path) -> None:
    path = tmp_path / "deep/frames.jsonl"
    mixed = [*results[6:], *results[5::-1]]
    assert write_lines(path, mixed) == path.stat().st_size
    assert documents(read_results(path)) == documents(mixed)
    assert documents(read_results(path, ascending=True)) == documents(results)


def test_lines_are_there_at_once_and_what_follows_a_size_goes(results: list[VideoResult], tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    size = write_lines(path, results[:3])
    with path.open("ab") as file:
        file.write(results[3].to_json().encode() + b'\n{"half of a li')
    with FrameLines(path, size=size) as lines:
        assert path.stat().st_size == size
        lines.add(results[3])
        assert documents(read_results(path)) == documents(results[:4])


def test_a_full_disk_leaves_whole_lines(results: list[VideoResult], tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    size = len(results[0].to_json()) + 1
    lines = FrameLines(path)
    with full_disk(size + 40), pytest.raises(OutputError, match=r"frames\.jsonl: cannot be written"):
        for result in results:
            lines.add(result)
    lines.close()
    assert documents(read_results(path)) == documents(results[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: expected the JSON of a frame, it cannot be read"),
        ("[]", r"line 1: expected the JSON of a frame, got b'\[\]"),
        ("{}", "expected the document of a frame"),
    ],
)
@pytest.mark.parametrize("ascending", [True, False])
def test_lines_that_are_none(text: str, message: str, ascending: bool, tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_text(text + "\n")
    with pytest.raises(DataError, match=message):
        list(read_results(tmp_path / "frames.jsonl", ascending=ascending))
    with pytest.raises(DataError, match="nothing: expected a file of frames"):
        list(read_results(tmp_path / "nothing", ascending=ascending))


# --- other programs' formats ------------------------------------------------------------------------------------------


def test_mot_counts_from_one(results: list[VideoResult], tmp_path: Path) -> None:
    write_mot(results, tmp_path / "mot.txt")
    rows = [line.split(",") for line in (tmp_path / "mot.txt").read_text().splitlines()]
    expected = [
        (result.frame_idx + 1, object_id + 1, x0 + 1, y0 + 1, x1 - x0, y1 - y0)
        for result in results
        for object_id, (x0, y0, x1, y1) in zip(result.object_ids.tolist(), result.boxes_xyxy.tolist(), strict=True)
    ]
    assert [tuple(map(float, row[:6])) for row in rows] == expected
    assert min(float(row[2]) for row in rows) == 1  # of the first pixel
    scores = np.concatenate([result.tracker_scores for result in results])
    assert [float(row[6]) for row in rows] == pytest.approx(scores.tolist(), abs=5e-5)  # four digits
    assert {tuple(row[7:]) for row in rows} == {("-1", "-1", "-1")}


def test_youtube_vis_is_read_by_the_evaluation(results: list[VideoResult], tmp_path: Path) -> None:
    path = tmp_path / "vis.json"
    write_video_coco(results[1::2], path, concepts=["dog", "cat"])
    document = json.loads(path.read_text())
    assert [one["name"] for one in document["categories"]] == ["dog", "cat", "object"]
    assert document["videos"][0]["frame_indices"] == [1, 3, 5, 7, 9, 11]
    truth = read_video_ground_truth(document)
    predictions = read_video_predictions(document["annotations"], truth)
    assert truth.videos[1].frame_count == 6
    seen = {object_id for result in results[1::2] for object_id in result.object_ids.tolist()}
    assert [one["id"] - 1 for one in document["annotations"]] == sorted(seen)
    for one, record in zip(predictions, document["annotations"], strict=True):
        for result, rle, area in zip(results[1::2], one.rles, record["areas"], strict=True):
            place = np.flatnonzero(result.object_ids == record["id"] - 1)
            assert (rle is not None) == bool(len(place)) == (area is not None)
            if rle is not None:
                assert rle == result.rle()[place[0]]
                assert area == result.areas[place[0]]
    names = {one["id"]: one["name"] for one in document["categories"]}
    assert {names[one["category_id"]] for one in document["annotations"]} == {"dog", "object"}


def test_nothing_followed_is_a_data_set_too(results: list[VideoResult], tmp_path: Path) -> None:
    nothing = replace(
        results[0],
        scores=np.zeros(0, np.float32),
        boxes_xyxy=np.zeros((0, 4), np.float32),
        mask_counts=(),
        object_ids=np.zeros(0, np.int64),
        concepts=(),
        tracker_scores=np.zeros(0, np.float32),
    )
    write_video_coco([nothing], tmp_path / "vis.json", concepts=["dog"])
    assert json.loads((tmp_path / "vis.json").read_text())["annotations"] == []
    write_mot([nothing], tmp_path / "mot.txt")
    assert (tmp_path / "mot.txt").read_text() == ""


def test_a_mask_for_each_object_where_it_is_seen(results: list[VideoResult], tmp_path: Path) -> None:
    sequences = MaskSequences(tmp_path / "masks")
    for result in results:
        sequences.add(result)
    found = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")}
    assert found == {f"{i:03d}/{result.frame_idx:06d}.png" for result in results for i in result.object_ids}
    for result in results:
        for object_id, mask in zip(result.object_ids, result.masks, strict=True):
            with Image.open(tmp_path / f"masks/{object_id:03d}/{result.frame_idx:06d}.png") as picture:
                assert picture.mode == "1"
                assert np.array_equal(np.asarray(picture), mask)


def test_what_cannot_be_written_is_told(results: list[VideoResult], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (
        lambda: write_mot(results, tmp_path / "file/mot.txt"),
        lambda: write_video_coco(results, tmp_path / "file/vis.json", concepts=[]),
        lambda: MaskSequences(tmp_path / "file").add(max(results, key=len)),
        lambda: FrameLines(tmp_path / "file/frames.jsonl"),
    ):
        with pytest.raises(OutputError, match=r"file.*cannot be written"):
            write()
