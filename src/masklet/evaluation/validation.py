"""A model measured on a data set of any format: cgF1 of a user's own labelled pictures, as training wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from masklet.data.dataset import Dataset
from masklet.evaluation.cgf1 import cgf1_values, count_files
from masklet.evaluation.pair_files import read_predictions, read_truth
from masklet.evaluation.pairs import CATEGORY_ID, answer_pairs
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.detector import Detector

_REPORTED = ("IL_MCC", "positive_micro_F1", "F1@0.5", "precision@0.5", "recall@0.5")


def dataset_pairs(dataset: Dataset) -> dict[str, Any]:
    """Every prompt of a data set as a (picture, phrase) pair of `pair_files.read_truth`; exemplars go along.

    Raises:
        DataError: a mask is damaged.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture in dataset:
        height, width = picture.size_hw
        codes = picture.rles()
        boxes = [_xywh(instance.box_xyxy) for instance in picture.instances]
        for prompt in picture.prompts:
            shown = [(idx, True) for idx in prompt.positive_idx] + [(idx, False) for idx in prompt.negative_idx]
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": str(picture.path.resolve()),
                    "width": width,
                    "height": height,
                    "text_input": prompt.phrase,
                    "is_instance_exhaustive": int(prompt.exhaustive),
                    "exemplars": [{"bbox": boxes[idx], "positive": positive} for idx, positive in shown],
                }
            )
            annotations += [
                {
                    "id": len(annotations) + number,
                    "image_id": len(images),
                    "category_id": CATEGORY_ID,
                    "bbox": boxes[idx],
                    "segmentation": codes[idx],
                    "iscrowd": int(picture.instances[idx].crowd),
                }
                for number, idx in enumerate(prompt.instance_idx, start=1)
            ]
    return {"images": images, "annotations": annotations, "categories": [{"id": CATEGORY_ID, "name": "object"}]}


def validator(dataset: Dataset) -> Callable[[Detector], dict[str, float]]:
    """What measures a model on a data set: cgF1 first, or pmF1 if no concept is ever absent and cgF1 says nothing.

    Objects are compared by masks, or by boxes if any has no mask.
    """
    truth = read_truth(dataset_pairs(dataset), name=str(dataset.source))
    only_boxes = any(one["segmentation"] is None for objects in truth.objects.values() for one in objects)
    absent = any(pair not in truth.objects for pair in truth.pairs)
    first = "cgF1" if absent else "positive_micro_F1"

    def validate(model: Detector) -> dict[str, float]:
        found = answer_pairs(ImagePredictor(model.eval()), truth, Path())
        predictions = read_predictions(found.predictions)
        values = cgf1_values(count_files([truth], predictions, "bbox" if only_boxes else "segm"))
        return {name: values[name] for name in dict.fromkeys((first, "cgF1", *_REPORTED))}

    return validate


def _xywh(box_xyxy: tuple[float, float, float, float]) -> list[float]:
    x0, y0, x1, y1 = box_xyxy
    return [x0, y0, x1 - x0, y1 - y0]
