"""Writes scenes as a COCO-style data set: pictures, exact masks, and the questions with their answers.

    out/
      images/000000.jpg ...
      annotations.json      images, annotations (RLE masks), categories (symbol names), queries, info

`queries` is an addition to COCO: one entry for each question of an image, absent concepts included, with the ids of the
annotations that answer it. The folder is written aside and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from masklet.errors import InputError, OutputError
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import Split, make_scene

ANNOTATIONS_FILE = "annotations.json"
IMAGE_FORMATS = {"jpeg": ".jpg", "png": ".png"}
_JPEG_QUALITY = 92


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
    if image_format not in IMAGE_FORMATS:
        raise InputError(f"image_format must be one of {sorted(IMAGE_FORMATS)}, got {image_format!r}")
    chosen = default_sheet() if sheet is None else sheet
    with new_folder(out) as aside:
        document = _document(chosen, split, seed)
        (aside / "images").mkdir()
        for image_id in range(count):
            scene, asked = make_scene(split, seed + image_id, size_hw, questions=questions, sheet=chosen)
            name = f"images/{image_id:06d}{IMAGE_FORMATS[image_format]}"
            save_image(scene.image, aside / name, image_format)
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


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder aside that becomes `out` when all went well; else nothing is left.

    Raises:
        OutputError: `out` is in use or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} must be a new or empty folder, but there is something in it: name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield aside
            aside.chmod(0o755)  # temporary folders are private; the result is not
            aside.replace(out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write the data set to {out}: {error.strerror or error}") from error


def save_image(image: npt.NDArray[np.uint8], path: Path, image_format: str) -> None:
    """Writes (H, W, 3) as one of `IMAGE_FORMATS`."""
    if image_format == "jpeg":
        # 4:4:4, so that thin coloured outlines keep their colour.
        Image.fromarray(image).save(path, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(image).save(path, "PNG")


def write_document(document: dict[str, Any], folder: Path) -> None:
    """Writes the annotation file."""
    text = json.dumps(document, separators=(",", ":"))
    (folder / ANNOTATIONS_FILE).write_text(text, encoding="utf-8")


def _document(sheet: SpriteSheet, split: Split, seed: int) -> dict[str, Any]:
    """The annotation file before any scene is in it."""
    return {
        "info": {
            "description": "masklet synthetic scenes",
            "split": split.name,
            "first_seed": seed,
            "sprites_sha256": sheet.source_hash,
        },
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
        rle = coco_mask.encode(np.asfortranarray(masks[idx], dtype=np.uint8))
        left, top, right, bottom = instance.box_xyxy
        document["annotations"].append(
            {
                "id": first + idx,
                "image_id": image_id,
                "category_id": instance.symbol_idx + 1,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
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
