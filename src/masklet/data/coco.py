"""COCO files: categories are phrases; LVIS' lists of negatives; and additions for phrases of single pictures.

    images[]        id, file_name, height, width; LVIS: neg_category_ids, not_exhaustive_category_ids;
                    ours: negatives, a list of phrases that are not there
    annotations[]   image_id, category_id, and bbox (left, top, width, height in pixels) or segmentation or both;
                    id, iscrowd (0); ours: phrase or noun_phrase, in place of the category's name
    categories[]    id, name
    queries[]       ours, as `masklet synth` writes it: image_id, phrase, annotation_ids, positive_exemplar_ids,
                    negative_exemplar_ids. Where the file has it, it makes the prompts, and categories make none.

Unusual: everything else is optional, `iscrowd` included. Names are taken verbatim; categories of one name are one
phrase. Two annotations of an absent and a present concept cannot contradict: what is labelled is present.
"""

from __future__ import annotations

from pathlib import Path

from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.prompts import Negatives, PromptMaker
from masklet.data.records import (
    Id,
    Place,
    Record,
    box_of,
    flag,
    identifier,
    identifiers,
    read_document,
    segmentation_of,
    size_of,
    strings,
    table,
    value,
)
from masklet.errors import DataError


def read_coco(path: str | Path, *, pictures: str | Path | None = None, negatives: Negatives | None = None) -> Dataset:
    """The pictures of a COCO file in its order, with prompts in the order of the category ids.

    Args:
        path: the JSON file.
        pictures: folder that `file_name` is relative to; that of the file if None.
        negatives: which concepts are known to be absent; None takes "listed" if the file lists category ids for any
            picture (LVIS) and "all" otherwise. Phrases in `negatives` of a picture are asked unless this is "none".
            Of a file with queries only "none" changes anything: it leaves out those without an answer.

    Raises:
        DataError: no JSON, a missing key, a wrong type, or a record that refers to one that is not there.
    """
    return coco_dataset(read_document(Path(path)), Path(path), pictures=pictures, negatives=negatives)


def coco_dataset(
    document: Record, path: Path, *, pictures: str | Path | None = None, negatives: Negatives | None = None
) -> Dataset:
    """The same of a document that was read from `path`."""
    images = table(document, "images", path)
    folder = path.parent if pictures is None else Path(pictures)
    names = _category_names(document, path)
    labels = _Labels(document, path, images, names)
    if document.get("queries") is not None:
        prompts, vocabulary = labels.asked(negatives)
    else:
        prompts, vocabulary = labels.named(negatives)
    return Dataset(
        pictures=tuple(
            LabelledPicture(
                path=folder / value(image, "file_name", str, place),
                size_hw=size_of(image, place),
                instances=tuple(labels.instances[idx]),
                prompts=prompts[idx],
                id=str(image["id"]),
            )
            for idx, (place, image) in enumerate(images)
        ),
        source=path,
        format="coco",
        vocabulary=vocabulary,
    )


def instance_of(annotation: Record, place: Place, *, scale_hw: tuple[int, int] = (1, 1)) -> Instance:
    """The instance of an annotation; without `bbox` it has the box of its segmentation.

    Args:
        annotation: an entry of `annotations`.
        place: where it stands.
        scale_hw: what `bbox` is multiplied by: the picture's size if it is in fractions.
    """
    box, segmentation = box_of(annotation, place, scale_hw=scale_hw), segmentation_of(annotation, place)
    if box is None:
        if segmentation is None:
            raise DataError(f"{place}: expected 'bbox' or 'segmentation', got neither; add one or remove the record")
        try:
            box = segmentation.box()
        except (DataError, OverflowError) as error:  # JSON's whole numbers have no limit
            raise DataError(f"{place}: {error}") from error
    crowd = flag(annotation, "iscrowd", place, default=False)
    return Instance(box_xyxy=box, segmentation=segmentation, crowd=crowd, id=str(annotation.get("id", place.row)))


def by_id(rows: list[tuple[Place, Record]]) -> dict[Id, int]:
    """Positions of records by their ids, which must differ."""
    positions: dict[Id, int] = {}
    for index, (place, row) in enumerate(rows):
        row_id = identifier(row, "id", place)
        if row_id in positions:
            first = positions[row_id]
            raise DataError(
                f"{place}: expected ids that differ, got {row_id!r} as in {place.table}[{first}]; renumber one"
            )
        positions[row_id] = index
    return positions


def position(positions: dict[Id, int], record: Record, key: str, place: Place, among: str) -> int:
    """Where the record that a key refers to stands."""
    wanted = identifier(record, key, place)
    if wanted not in positions:
        raise DataError(
            f"{place}: expected {key!r} to be the id of one of the {len(positions)} {among}, got {wanted!r}; "
            "correct it or add that record"
        )
    return positions[wanted]


def _category_names(document: Record, path: Path) -> dict[Id, str]:
    """Names by id; ids ascending, numbers before texts."""
    rows = table(document, "categories", path, optional=True)
    names = {row_id: value(rows[index][1], "name", str, rows[index][0]) for row_id, index in by_id(rows).items()}
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


class _Labels:
    """The annotations of a file, by picture."""

    def __init__(self, document: Record, path: Path, images: list[tuple[Place, Record]], names: dict[Id, str]) -> None:
        self.document, self.path, self.images, self.names = document, path, images, names
        self.image_positions = by_id(images)
        self.annotations = table(document, "annotations", path, optional=True)
        self.instances: list[list[Instance]] = [[] for _ in images]
        self.owners: list[tuple[int, int]] = []  # of each annotation: its picture, its position there
        for place, annotation in self.annotations:
            picture_idx = position(self.image_positions, annotation, "image_id", place, "images")
            self.owners.append((picture_idx, len(self.instances[picture_idx])))
            self.instances[picture_idx].append(instance_of(annotation, place))

    def named(self, negatives: Negatives | None) -> tuple[list[tuple[Prompt, ...]], tuple[str, ...]]:
        """Prompts of each picture from categories and phrases of annotations; all phrases."""
        found: list[dict[str, list[int]]] = [{} for _ in self.images]
        vocabulary = dict.fromkeys(self.names.values())
        for (place, annotation), (picture_idx, instance_idx) in zip(self.annotations, self.owners, strict=True):
            found[picture_idx].setdefault(self._phrase(annotation, place), []).append(instance_idx)
        if negatives is None:
            negatives = "listed" if any("neg_category_ids" in image for _, image in self.images) else "all"
        maker = PromptMaker(tuple(vocabulary), negatives)
        prompts = []
        for (place, image), phrases in zip(self.images, found, strict=True):
            absent = [*self._names_of(image, "neg_category_ids", place), *strings(image, "negatives", place)]
            partial = set(self._names_of(image, "not_exhaustive_category_ids", place))
            prompts.append(maker.prompts(phrases, absent=absent, partial=partial))
            vocabulary.update(dict.fromkeys((*phrases, *absent)))
        return prompts, tuple(vocabulary)

    def asked(self, negatives: Negatives | None) -> tuple[list[tuple[Prompt, ...]], tuple[str, ...]]:
        """Prompts of each picture from `queries`; all phrases."""
        annotation_positions = by_id(self.annotations)
        prompts: list[list[Prompt]] = [[] for _ in self.images]
        vocabulary: dict[str, None] = {}
        for place, query in table(self.document, "queries", self.path):
            picture_idx = position(self.image_positions, query, "image_id", place, "images")
            answer, positive, negative = (
                tuple(self._instance(item, key, annotation_positions, picture_idx, place) for item in ids)
                for key in ("annotation_ids", "positive_exemplar_ids", "negative_exemplar_ids")
                for ids in [identifiers(query, key, place)]
            )
            prompt = Prompt(
                phrase=value(query, "phrase", str, place),
                instance_idx=answer,
                positive_idx=positive,
                negative_idx=negative,
            )
            vocabulary[prompt.phrase] = None
            if answer or negatives != "none":
                prompts[picture_idx].append(prompt)
        return [tuple(own) for own in prompts], tuple(vocabulary)

    def _instance(self, row_id: Id, key: str, positions: dict[Id, int], picture_idx: int, place: Place) -> int:
        owner, instance_idx = self.owners[positions[row_id]] if row_id in positions else (None, 0)
        if owner != picture_idx:
            raise DataError(
                f"{place}: expected {key!r} to be ids of annotations of the same picture, got {row_id!r}; correct it"
            )
        return instance_idx

    def _phrase(self, annotation: Record, place: Place) -> str:
        for key in ("phrase", "noun_phrase"):
            if annotation.get(key) is not None:
                return value(annotation, key, str, place)
        category = identifier(annotation, "category_id", place)
        if category not in self.names:
            raise self._unknown_category("category_id", category, place)
        return self.names[category]

    def _names_of(self, image: Record, key: str, place: Place) -> list[str]:
        categories = identifiers(image, key, place)
        for category in categories:
            if category not in self.names:
                raise self._unknown_category(key, category, place)
        return [self.names[category] for category in categories]

    def _unknown_category(self, key: str, category: Id, place: Place) -> DataError:
        return DataError(
            f"{place}: expected {key!r} to be among the ids of the {len(self.names)} categories, got {category!r}; "
            "correct it or add the category"
        )
