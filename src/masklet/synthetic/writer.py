"""Writes scenes as a COCO-style data set: pictures, exact masks, and the questions with their answers.

    out/
      images/000000.jpg ...
      annotations.json      images, annotations (RLE masks), categories (symbol names), queries, info

`queries` is an addition to COCO: one entry for each question of an image, absent concepts included, with the ids of the
annotations that answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from masklet.errors import InputError
from masklet.ops.masks import encode_rle
from masklet.synthetic.data_folder import ending_of, made_of, new_folder, save_image, write_document
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import Split, make_scene


def write_coco(
    out: Path,
    *,
    count: int,
    size_hw: tuple[int, int],
    seed: int,
    split: Split,
    questions: int = 6,
    image_format: str = "jpeg",
    sheet: SpriteSheet | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Makes the data set of scenes `seed` ... `seed + count - 1`.

    Args:
        out: folder to make; it must not exist, or be empty.
        count: number of pictures, 0 or more.
        size_hw: height and width of each, pixels.
        seed: first scene number, 0 or more.
        split: `world.TRAIN` or `world.EVALUATION`.
        questions: how many to ask of each picture.
        image_format: "jpeg" or "png" (exact pixels).
        sheet: sprites; None takes the installed font's.
        on_progress: called with the number of finished pictures after each.

    Raises:
        InputError: a count, seed or format that makes no sense.
        OutputError: the folder is in use or cannot be written.
        DataError: the font is missing.
    """
    if count < 0 or seed < 0 or questions < 0:
        raise InputError(f"count, seed and questions must be 0 or more, got {count}, {seed} and {questions}")
    ending = ending_of(image_format)
    chosen = default_sheet() if sheet is None else sheet
    with new_folder(out) as aside:
        document = _document(chosen, split, seed)
        (aside / "images").mkdir()
        for image_id in range(count):
            scene, asked = make_scene(split, seed + image_id, size_hw, questions=questions, sheet=chosen)
            name = f"images/{image_id:06d}{ending}"
            save_image(scene.image, aside / name)
            document["images"].append(
                {
                    "id": image_id,
                    "file_name": name,
                    "height": size_hw[0],
                    "width": size_hw[1],
                    "seed": seed + image_id,
                }
            )
            _add_scene(document, image_id, scene, asked)
            if on_progress is not None:
                on_progress(image_id + 1)
        write_document(document, aside)


def _document(sheet: SpriteSheet, split: Split, seed: int) -> dict[str, Any]:
    """The annotation file before any scene is in it."""
    return {
        "info": made_of("scenes", sheet, split, seed),
        "images": [],
        "annotations": [],
        "categories": [
            {"id": idx + 1, "name": symbol.name, "supercategory": (symbol.categories or ("thing",))[0]}
            for idx, symbol in enumerate(sheet.symbols)
        ],
        "queries": [],
    }


def _add_scene(document: dict[str, Any], image_id: int, scene: Scene, asked: list[Question]) -> None:
    first = len(document["annotations"]) + 1
    masks = scene.masks()
    for idx, instance in enumerate(scene.instances):
        left, top, right, bottom = instance.box_xyxy
        document["annotations"].append(
            {
                "id": first + idx,
                "image_id": image_id,
                "category_id": instance.symbol_idx + 1,
                "segmentation": encode_rle(masks[idx]),
                "bbox": [left, top, right - left, bottom - top],
                "area": instance.area_px,
                "iscrowd": 0,
                "colour": instance.colour,
            }
        )
    for question in asked:
        document["queries"].append(
            {
                "id": len(document["queries"]) + 1,
                "image_id": image_id,
                "phrase": question.phrase,
                "kind": question.kind,
                "annotation_ids": [first + idx for idx in question.instances],
                "positive_exemplar_ids": [first + idx for idx in question.positives],
                "negative_exemplar_ids": [first + idx for idx in question.negatives],
            }
        )
