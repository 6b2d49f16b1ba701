"""The objects on a frame: documents, both ways, pictures, files, other programs' types."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

import masklet
from follow_cases import ask, clip, predictor
from masklet.errors import DataError
from masklet.inference.video_result import VideoResult
from masklet.ops.masks import encode_rle
from masklet.render.overlay import colour_of
from result_cases import rectangle

SCHEMA = json.loads(files("masklet.inference").joinpath("frame.schema.json").read_text(encoding="utf-8"))
SIZE_HW = (40, 60)


def make_result(*, empty: bool = False, source: Any = None) -> VideoResult:
    """Object 2, a dog, and object 7, which was clicked; or nothing."""
    boxes = [] if empty else [(0, 0, 20, 10), (30, 20, 60, 40)]
    count = len(boxes)
    return VideoResult(
        image="films/clip.mp4",
        image_size_hw=SIZE_HW,
        concept="dog, cat",
        presence=0.75,
        model="test",
        scores=np.array([0.6, 1], dtype=np.float32)[:count],
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        mask_counts=tuple(encode_rle(rectangle(*box, size_hw=SIZE_HW))["counts"] for box in boxes),
        source=source,
        frame_idx=12,
        time_s=0.48,
        object_ids=np.array([2, 7], dtype=np.int64)[:count],
        concepts=("dog", "")[:count],
        tracker_scores=np.array([0.9, 0.8], dtype=np.float32)[:count],
    )


def check(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_documents_are_what_the_schema_says_and_become_results_again() -> None:
    for result in (make_result(), make_result(empty=True)):
        document = json.loads(result.to_json())
        check(document)
        again = VideoResult.from_dict(document)
        assert again.to_dict() == document
        assert again.image_size_hw == SIZE_HW
        assert np.array_equal(again.masks, result.masks)
        assert again.scores.dtype == again.tracker_scores.dtype == again.boxes_xyxy.dtype == np.float32
    assert [one["object_id"] for one in make_result().to_dict()["detections"]] == [2, 7]


def test_real_results_are_what_the_schema_says() -> None:
    with predictor().open(clip()) as video:
        ask(video)
        results = list(video.propagate(pixels=False))
    assert any(len(result) > 1 for result in results)
    for result in results:
        check(json.loads(result.to_json()))
        assert VideoResult.from_dict(result.to_dict()).to_dict() == result.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"frame_idx": -1},
        {"frame_idx": 1.5},
        {"time_s": "0"},
        {"detections": [{}]},
        {"more": 1},
        {"detections": [make_result().to_dict()["detections"][0] | {"object_id": -1}]},
        {"detections": [make_result().to_dict()["detections"][0] | {"tracker_score": 1.2}]},
        {"detections": [make_result().to_dict()["detections"][0] | {"area": 0}]},
    ],
)
def test_the_schema_refuses_other_documents(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(make_result().to_dict() | change)


@pytest.mark.parametrize("document", [{}, make_result().to_dict() | {"detections": [{}]}, {"size_wh": 3}])
def test_other_documents_become_no_results(document: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected the document of a frame"):
        VideoResult.from_dict(document)


def test_coco_has_the_concepts_of_the_objects() -> None:
    coco = make_result().to_coco()
    names = {one["id"]: one["name"] for one in coco["categories"]}
    assert [names[one["category_id"]] for one in coco["annotations"]] == ["dog", ""]
    assert len(coco["images"]) == 1
    assert make_result(empty=True).to_coco()["annotations"] == []


def test_supervision_has_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    given = make_result().to_supervision()
    assert given.tracker_id.tolist() == [2, 7]
    assert given.data["class_name"].tolist() == ["dog", ""]


def test_an_overlay_has_the_colours_of_the_identities() -> None:
    picture = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
    drawn = np.array(make_result(source=picture).overlay())
    assert tuple(drawn[0, 0]) == colour_of(2)  # the corner of its box
    assert tuple(drawn[-1, -1]) == colour_of(7)
    labels = [(one.name, one.object_id) for one in make_result().drawn()]
    assert labels == [("dog", 2), ("object", 7)]


def test_saved_frames_do_not_replace_each_other(tmp_path: Path) -> None:
    folder = make_result(source=np.zeros((*SIZE_HW, 3), dtype=np.uint8)).save(tmp_path)
    assert folder.parent == tmp_path / "clip/000012"
    assert {path.name for path in folder.iterdir()} == {"result.json", "overlay.png", "labels.png", "masks"}
    check(json.loads((folder / "result.json").read_text()))
    assert make_result().save(tmp_path, name="mine").parent == tmp_path / "mine"


def test_public_names() -> None:
    assert masklet.VideoResult is VideoResult
    assert {"VideoPredictor", "VideoResult"} <= set(masklet.__all__)
