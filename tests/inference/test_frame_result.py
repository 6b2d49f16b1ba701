"""A result: masks made lazily, documents as the schema says, other programs' types."""

from __future__ import annotations

import builtins
import json
import pickle
import sys
import tracemalloc
from dataclasses import replace
from importlib.resources import files
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import InputError, MissingExtraError
from masklet.inference.postprocess import frame_result
from masklet.ops.masks import decode_rle
from masklet.types import Detections
from result_cases import MASKS, SCORES, SIZE_HW, empty_result, make_result

SCHEMA = json.loads(files("masklet.inference").joinpath("result.schema.json").read_text(encoding="utf-8"))


def check(text: str) -> dict:
    document = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    return document


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_are_those_of_the_codes_in_every_form() -> None:
    result = make_result()
    assert result.masks.dtype == np.bool_
    assert np.array_equal(result.masks, MASKS)
    assert result.masks is result.masks  # made once
    assert all(np.array_equal(one, mask) for one, mask in zip(result.iter_masks(), MASKS, strict=True))
    assert all(np.array_equal(decode_rle(rle), mask) for rle, mask in zip(result.rle(), MASKS, strict=True))
    assert result.areas.tolist() == MASKS.sum((1, 2)).tolist()


def test_the_label_map_has_better_scores_on_top() -> None:
    labels = make_result().label_map()
    assert labels.dtype == np.uint16
    expected = np.where(MASKS[0], 1, np.where(MASKS[1], 2, np.where(MASKS[2], 3, 0)))
    assert (MASKS[0] & MASKS[1]).any()
    assert np.array_equal(labels, expected)


def test_nothing_found_is_a_result() -> None:
    result = empty_result()
    assert len(result) == 0
    assert result.masks.shape == (0, *SIZE_HW)
    assert result.boxes_xyxy.shape == (0, 4)
    assert result.rle() == []
    assert result.areas.tolist() == []
    assert not result.label_map().any()
    assert check(result.to_json())["detections"] == []
    assert "0 found" in repr(result)


def test_codes_documents_and_pickles_make_no_pixels() -> None:
    """60 masks of 6 megapixels would be 360 MB; documents stay below 5."""
    size_hw = (2000, 3000)
    one = make_result(np.pad(MASKS[:1], ((0, 0), (0, 1970), (0, 2959))))
    result = replace(
        one, mask_counts=one.mask_counts * 60, scores=one.scores.repeat(60), boxes_xyxy=one.boxes_xyxy.repeat(60, 0)
    )
    tracemalloc.start()
    assert len(result.rle()) == len(json.loads(result.to_json())["detections"]) == 60
    assert len(result.to_coco()["annotations"]) == 60
    pickle.dumps(result)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.image_size_hw == size_hw
    assert peak < 5e6


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        replace(make_result(), scores=np.array([0.9, number, 0.5], dtype=np.float32))
    with pytest.raises(InputError, match="not finite"):
        replace(make_result(), presence=number)


# --- documents --------------------------------------------------------------------------------------------------------


def test_json_is_what_the_schema_says() -> None:
    result = make_result()
    text = result.to_json()
    assert "\n" not in text
    document = check(text)
    assert list(document) == ["image", "size_wh", "concept", "presence", "model", "detections"]
    assert document["size_wh"] == [41, 30]
    assert document["presence"] == 0.96875
    first = document["detections"][0]
    assert first == {
        "box_xyxy": [3.25, 4.25, 19.75, 24.75],
        "score": 0.9,  # not 0.8999999761581421
        "area": 17 * 21,
        "mask": result.rle()[0],
    }
    assert first["mask"]["size"] == [30, 41]


@pytest.mark.parametrize(
    "change",
    [
        {"presence": 1.5},
        {"size_wh": [41]},
        {"extra": 1},
        {"detections": [{"box_xyxy": [0, 0, 1, 1], "score": 0.5, "area": 1}]},
        {"detections": [{"box_xyxy": [0, 0, 1], "score": 0.5, "area": 1, "mask": {"size": [1, 1], "counts": "01"}}]},
    ],
)
def test_the_schema_refuses_other_documents(change: dict) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(json.dumps({**make_result().to_dict(), **change}))


def test_names_of_any_script_survive() -> None:
    result = empty_result(concept='красный "автобус" 🚌', image="фото/é.jpg")
    document = check(result.to_json())
    assert (document["concept"], document["image"]) == (result.concept, result.image)


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not among those of the tests: its constructor is replaced by one that keeps the arguments."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    given = make_result().to_supervision()
    assert given.xyxy.shape == (3, 4)
    assert given.xyxy[0].tolist() == [3.25, 4.25, 19.75, 24.75]
    assert np.array_equal(given.mask, MASKS)
    assert given.confidence.tolist() == np.array(SCORES, dtype=np.float32).tolist()
    assert given.class_id.tolist() == [0, 0, 0]
    assert given.data["class_name"].tolist() == ["yellow school bus"] * 3
    nothing = empty_result().to_supervision()
    assert (nothing.xyxy.shape, nothing.mask.shape, nothing.class_id.shape) == ((0, 4), (0, *SIZE_HW), (0,))


def test_supervision_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "supervision":
            raise ModuleNotFoundError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"masklet\[viz\]"):
        make_result().to_supervision()


# --- from detections --------------------------------------------------------------------------------------------------


def detections(boxes_cxcywh_norm: list[list[float]]) -> Detections:
    count = len(boxes_cxcywh_norm)
    logits = torch.randn(count, 6, 8, generator=torch.Generator().manual_seed(0))
    return Detections(
        query_idx=torch.arange(count),
        scores=torch.linspace(0.9, 0.5, count),
        boxes_cxcywh_norm=torch.tensor(boxes_cxcywh_norm).reshape(-1, 4),
        mask_logits=logits.requires_grad_(),
    )


def result_of(found: Detections, image_size_hw: tuple[int, int]):
    return frame_result(found, image="a.png", image_size_hw=image_size_hw, concept="cat", presence=0.5, model="test")


def test_boxes_come_in_pixels_clipped_to_the_picture() -> None:
    result = result_of(detections([[0.5, 0.5, 0.5, 0.25], [0.0, 1.0, 0.5, 0.5]]), (80, 200))
    assert result.boxes_xyxy.dtype == np.float32
    assert result.boxes_xyxy.tolist() == [[50, 30, 150, 50], [0, 60, 50, 80]]
    assert result.masks.shape == (2, 80, 200)
    assert result.scores.tolist() == pytest.approx([0.9, 0.5])


def test_no_detections() -> None:
    assert len(result_of(detections([]), (80, 200))) == 0


fractions = st.floats(-0.5, 1.5, width=32)


@given(
    st.lists(st.tuples(fractions, fractions, st.floats(0, 2, width=32), st.floats(0, 2, width=32)), max_size=3),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_boxes_are_the_nearest_float32(boxes: list[tuple[float, ...]], height: int, width: int) -> None:
    result = frame_result(
        replace(detections([list(box) for box in boxes]), mask_logits=torch.full((len(boxes), 1, 1), -1.0)),
        image="a.png",
        image_size_hw=(height, width),
        concept="cat",
        presence=0.5,
        model="test",
    )
    for found, (cx, cy, w, h) in zip(result.boxes_xyxy, boxes, strict=True):
        edges = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        exact = [min(max(edge, 0), size) for edge, size in zip(edges, (width, height) * 2, strict=True)]
        assert found.tolist() == np.array(exact, dtype=np.float32).tolist()
