"""A folder of pictures and one of masks, with a folder for each concept.

    images/a/b.jpg              pictures
    masks/CONCEPT/a/b.png       the concept's instances there: 0 outside, instances numbered from 1 on (8 or 16 bit, or
                                1 bit for a single instance); all 0 says that the concept is absent

Unusual: `_` in the name of a concept's folder stands for a blank. Opening reads every mask once, because nothing else
says how many instances there are; only their boxes are kept. Masks refer to the picture as a viewer shows it unless
only the size of the stored rows fits (EXIF data turns it).
"""

from __future__ import annotations

from pathlib import Path

from masklet.data.dataset import Dataset, Instance, LabelledPicture
from masklet.data.folders import file_id, pictures_below, sizes_of
from masklet.data.prompts import Negatives, PromptMaker
from masklet.data.segmentation import MaskFile, boxes_by_value, read_mask_values
from masklet.errors import DataError


def read_mask_folder(path: str | Path, *, negatives: Negatives | None = None) -> Dataset:
    """The pictures of such a folder, sorted by path, with prompts in the order of the concepts' names.

    Args:
        path: the folder that holds images/ and masks/.
        negatives: which concepts are known to be absent from a picture: "listed" (None) those with a mask of zeros,
            "all" those without a mask as well, "none" none.

    Raises:
        DataError: a folder is missing, a file cannot be read, a mask belongs to no picture or to two.
    """
    folder = Path(path)
    pictures = pictures_below(folder / "images")
    sizes = sizes_of(pictures)
    by_name: dict[str, Path] = {}
    for picture in pictures:
        name = file_id(picture.with_suffix(""), folder / "images")
        if name in by_name:
            raise DataError(f"{picture}: expected names that differ, got that of {by_name[name].name}; rename one")
        by_name[name] = picture

    masks = _masks_of_pictures(folder, by_name)
    concepts = sorted({concept for own in masks.values() for concept in own})
    maker = PromptMaker(concepts, negatives or "listed")
    labelled = []
    for name, size in zip(by_name, sizes, strict=True):
        instances: list[Instance] = []
        found: dict[str, list[int]] = {}
        size_hw = size.shown_hw
        for concept, mask in masks.get(name, {}).items():
            values = read_mask_values(mask)
            if values.shape == size.stored_hw:
                size_hw = size.stored_hw
            for value, box in boxes_by_value(values).items():
                found.setdefault(concept, []).append(len(instances))
                own = f"{concept} {value}"
                instances.append(Instance(box_xyxy=box, segmentation=MaskFile(path=mask, value=value), id=own))
        absent = [concept for concept in masks.get(name, {}) if concept not in found]
        labelled.append(
            LabelledPicture(
                path=by_name[name],
                size_hw=size_hw,
                instances=tuple(instances),
                prompts=maker.prompts(found, absent=absent),
                id=file_id(by_name[name], folder / "images"),
            )
        )
    return Dataset(pictures=tuple(labelled), source=folder, format="masks", vocabulary=tuple(concepts))


def _masks_of_pictures(folder: Path, by_name: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Mask files by picture and concept."""
    masks: dict[str, dict[str, Path]] = {}
    for mask in pictures_below(folder / "masks"):
        concept, _, name = file_id(mask.with_suffix(""), folder / "masks").partition("/")
        if mask.suffix.lower() != ".png" or not name:
            raise DataError(f"{mask}: expected masks/CONCEPT/NAME.png; move it, or save it as PNG, which loses nothing")
        if name not in by_name:
            raise DataError(f"{mask}: expected a picture {name}.* in images, there is none; rename the mask")
        own, phrase = masks.setdefault(name, {}), concept.replace("_", " ")
        if phrase in own:
            raise DataError(f"{mask}: expected one mask of {phrase!r} for a picture, got {own[phrase]}, too; join them")
        own[phrase] = mask
    return masks
