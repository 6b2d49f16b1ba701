"""Files in the layout of SA-Co Gold and Silver: an entry is a picture and one phrase asked of it.

Source: spec/evaluation.md 3.1.

    images[]        id of the pair, file_name, height, width, text_input; is_instance_exhaustive (1)
    annotations[]   image_id (of the pair), bbox (left, top, width, height as fractions of the picture), segmentation
                    (a run-length code); id, iscrowd (0)

Unusual: entries that share a file become one picture with several prompts. A pair without annotations is a negative.
"""

from __future__ import annotations

from pathlib import Path

from masklet.data.coco import by_id, instance_of, position
from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.records import Record, flag, read_document, size_of, table, value
from masklet.errors import DataError


def read_saco(path: str | Path, *, pictures: str | Path | None = None) -> Dataset:
    """The pictures of such a file in the order in which they first come, their prompts in the order of the entries.

    Args:
        path: the JSON file.
        pictures: folder that `file_name` is relative to; that of the file if None.

    Raises:
        DataError: no JSON, a missing key, a wrong type, an annotation of no pair, or two sizes for one picture.
    """
    return saco_dataset(read_document(Path(path)), Path(path), pictures=pictures)


def saco_dataset(document: Record, path: Path, *, pictures: str | Path | None = None) -> Dataset:
    """The same of a document that was read from `path`."""
    pairs = table(document, "images", path)
    positions = by_id(pairs)
    sizes: dict[str, tuple[int, int]] = {}
    names: list[str] = []
    for place, pair in pairs:
        name, size_hw = value(pair, "file_name", str, place), size_of(pair, place)
        if sizes.setdefault(name, size_hw) != size_hw:
            raise DataError(
                f"{place}: expected height and width {sizes[name]} as in an entry before of {name}, got {size_hw}; "
                "correct one of them"
            )
        names.append(name)

    instances: dict[str, list[Instance]] = {name: [] for name in sizes}
    answers: list[list[int]] = [[] for _ in pairs]
    for place, annotation in table(document, "annotations", path, optional=True):
        pair_idx = position(positions, annotation, "image_id", place, "images")
        name = names[pair_idx]
        answers[pair_idx].append(len(instances[name]))
        instances[name].append(instance_of(annotation, place, scale_hw=sizes[name]))

    prompts: dict[str, list[Prompt]] = {name: [] for name in sizes}
    for (place, pair), name, answer in zip(pairs, names, answers, strict=True):
        prompts[name].append(
            Prompt(
                phrase=value(pair, "text_input", str, place),
                instance_idx=tuple(answer),
                exhaustive=flag(pair, "is_instance_exhaustive", place, default=True),
            )
        )
    folder = path.parent if pictures is None else Path(pictures)
    return Dataset(
        pictures=tuple(
            LabelledPicture(
                path=folder / name,
                size_hw=sizes[name],
                instances=tuple(instances[name]),
                prompts=tuple(prompts[name]),
                id=name,
            )
            for name in sizes
        ),
        source=path,
        format="saco",
        vocabulary=tuple(dict.fromkeys(prompt.phrase for own in prompts.values() for prompt in own)),
    )
