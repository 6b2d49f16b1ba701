"""What is wrong with a data set: findings by kind, counted, with the first examples as text.

Of pictures only the headers are read, so that a file that is cut off in the middle is not found here. Masks are made as
far as their areas and tight boxes need it; mask files are read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from masklet.data.dataset import Dataset, Instance, LabelledPicture
from masklet.data.decode import labelled_as_stored
from masklet.data.segmentation import MaskFile, RunLengths, read_codes, read_mask_values
from masklet.errors import DataError, ImageError
from masklet.media.images import read_image_size
from masklet.ops.masks import Rle

Severity = Literal["fatal", "counted"]

LEAST_IOU = 0.5
MOST_SIDE_OFF = 2.0  # pixels; the boxes of tiny things differ by rounding alone
MOST_OVER_EDGE = 1.0  # pixels

KINDS: Final[dict[str, tuple[Severity, str]]] = {
    "no-pictures": ("fatal", "the data set is empty"),
    "no-positives": ("fatal", "no prompt of any picture has an instance"),
    "missing-picture": ("fatal", "the picture's file is not there"),
    "unreadable-picture": ("fatal", "the file is empty, damaged or no picture"),
    "picture-size": ("fatal", "the file has another size than its labels"),
    "box-not-finite": ("fatal", "a coordinate is NaN or infinite"),
    "box-outside": ("fatal", "no part of the box is in the picture"),
    "bad-segmentation": ("fatal", "no mask can be made of the segmentation"),
    "segmentation-size": ("fatal", "the mask has another size than the labels of the picture"),
    "empty-phrase": ("fatal", "a phrase without a letter"),
    "box-empty": ("counted", "the box has no area"),
    "box-over-edge": ("counted", f"the box ends more than {MOST_OVER_EDGE:g} px outside the picture"),
    "empty-mask": ("counted", "the mask has no pixel"),
    "mask-off-box": ("counted", f"box and mask's tight box: IoU < {LEAST_IOU}, a side > {MOST_SIDE_OFF:g} px off"),
    "no-mask": ("counted", "an instance with a box only"),
    "same-picture": ("counted", "the file comes more than once"),
    "same-instance": ("counted", "box and phrase as an earlier instance of the picture"),
    "same-phrase": ("counted", "the phrase is asked more than once of the picture"),
    "similar-phrases": ("counted", "phrases that differ in case or blanks only"),
    "many-instances": ("counted", "a prompt with more instances than the model has queries"),
    "stored-rows": ("counted", "labels are of the picture before EXIF data turns it"),
    "turned-or-not": ("counted", "labels fit with and without EXIF's turn; taken as turned"),
}
"""Kinds of findings in the order of reports: how bad, and what it means. Fatal: the data cannot be trained on before it
is mended. Counted: it can; one should know."""

MOST_EXAMPLES = 3
TABLE_WIDTH = 100
_AT_ONCE = 4096  # codes: some MB of digits

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong, as often as it is.

    Attributes:
        kind: one of `KINDS`.
        severity: "fatal" or "counted", as `KINDS` says.
        count: of pictures, instances, prompts or phrases, whatever the kind is about; 1 or more.
        examples: the first few, one line each.
    """

    kind: str
    severity: Severity
    count: int
    examples: tuple[str, ...]


def check_dataset(dataset: Dataset, *, most_instances: int = 200) -> list[Finding]:
    """Everything that is wrong with a data set, in the order of `KINDS`; none if it is well.

    Args:
        dataset: what a reader gave.
        most_instances: queries of the model: a prompt with more instances cannot be answered wholly.
    """
    findings = _Findings()
    if not dataset.pictures:
        findings.add("no-pictures", str(dataset.source))
    _check_files(dataset, findings)
    _check_prompts(dataset, most_instances, findings)
    _check_phrases(dataset, findings)
    labelled = _Labelled(dataset)
    _check_boxes(labelled, findings)
    _check_masks(labelled, findings)
    return findings.sorted()


def findings_table(findings: Sequence[Finding]) -> str:
    """Findings as plain text: a line for each and its examples below; at most 100 characters a line."""
    if not findings:
        return "nothing wrong was found"
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity:<7}  {finding.count:>8}  {finding.kind:<18}  {KINDS[finding.kind][1]}")
        lines += [f"{'':<19}{example}" for example in finding.examples]
        if finding.count > len(finding.examples):
            lines.append(f"{'':<19}...")
    return "\n".join(map(_line, lines))


class _Findings:
    """Counts what is found; keeps the first examples."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._examples: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, example: str) -> None:
        self.extend(kind, 1, [example])

    def extend(self, kind: str, count: int, examples: Iterable[str]) -> None:
        """Several at once; of the examples only as many are made as are kept."""
        self._counts[kind] += count
        own = self._examples[kind]
        own += islice(examples, MOST_EXAMPLES - len(own))

    def sorted(self) -> list[Finding]:
        return [
            Finding(kind=kind, severity=severity, count=self._counts[kind], examples=tuple(self._examples[kind]))
            for kind, (severity, _) in KINDS.items()
            if self._counts[kind]
        ]


# --- pictures, prompts, phrases ---------------------------------------------------------------------------------------


def _check_files(dataset: Dataset, findings: _Findings) -> None:
    seen: set[str] = set()
    for picture in dataset:
        name = os.path.normpath(picture.path)
        if name in seen:
            findings.add("same-picture", str(picture.path))
            continue
        seen.add(name)
        try:
            size = read_image_size(picture.path)
        except ImageError as error:
            kind = "unreadable-picture" if os.path.exists(picture.path) else "missing-picture"
            findings.add(kind, str(picture.path) if kind == "missing-picture" else str(error))
            continue
        if picture.size_hw not in (size.shown_hw, size.stored_hw):
            swapped = "; height and width are exchanged" if picture.size_hw == size.shown_hw[::-1] else ""
            came = f"{size.shown_hw[1]} x {size.shown_hw[0]}, labels {picture.size_hw[1]} x {picture.size_hw[0]}"
            findings.add("picture-size", f"{picture.path}: {came}{swapped}")
        elif labelled_as_stored(picture, size):
            findings.add("stored-rows", str(picture.path))
        elif size.turned and size.stored_hw == size.shown_hw:
            findings.add("turned-or-not", str(picture.path))


def _check_prompts(dataset: Dataset, most_instances: int, findings: _Findings) -> None:
    any_positive = False
    for picture in dataset:
        phrases: set[str] = set()
        for prompt in picture.prompts:
            if prompt.phrase in phrases:
                findings.add("same-phrase", f"{picture.path}: {prompt.phrase!r}")
            phrases.add(prompt.phrase)
            if not prompt.instance_idx:
                continue
            own = [picture.instances[idx] for idx in prompt.instance_idx]
            single = [instance for instance in own if not instance.crowd]
            any_positive = any_positive or bool(single)
            if len(single) > most_instances:
                findings.add("many-instances", f"{picture.path}: {prompt.phrase!r} has {len(single)}")
            repeated = len(own) - len({instance.box_xyxy for instance in own})
            if repeated:
                findings.extend("same-instance", repeated, _repeated(picture, own, prompt.phrase))
    if dataset.pictures and not any_positive:
        findings.add("no-positives", str(dataset.source))


def _repeated(picture: LabelledPicture, instances: Sequence[Instance], phrase: str) -> Iterator[str]:
    seen: set[tuple[float, ...]] = set()
    for instance in instances:
        if instance.box_xyxy in seen:
            yield f"{_named(picture, instance)}: {phrase!r}"
        seen.add(instance.box_xyxy)


def _check_phrases(dataset: Dataset, findings: _Findings) -> None:
    where: dict[str, str] = {}
    for picture in dataset:
        for prompt in picture.prompts:
            if prompt.phrase not in where:
                where[prompt.phrase] = str(picture.path)
    for phrase in dataset.vocabulary:
        where.setdefault(phrase, str(dataset.source))
    alike: dict[str, list[str]] = defaultdict(list)
    for phrase, place in where.items():
        bare = " ".join(phrase.split()).casefold()
        if bare:
            alike[bare].append(phrase)
        else:
            findings.add("empty-phrase", f"{place}: {phrase!r}")
    for group in alike.values():
        if len(group) > 1:
            findings.extend("similar-phrases", len(group), [", ".join(map(repr, group))])


# --- instances --------------------------------------------------------------------------------------------------------


class _Labelled:
    """All instances of a data set in one row, N of them.

    Attributes:
        pairs: N pictures and instances.
        boxes_xyxy: (N, 4) pixels.
        sizes_hw: (N, 2) of their pictures.
        finite: (N,) bool.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.pairs = [(picture, instance) for picture in dataset for instance in picture.instances]
        self.boxes_xyxy: Boxes = np.array([instance.box_xyxy for _, instance in self.pairs], np.float64).reshape(-1, 4)
        self.sizes_hw = np.array([picture.size_hw for picture, _ in self.pairs], np.int64).reshape(-1, 2)
        self.finite = np.asarray(np.isfinite(self.boxes_xyxy).all(axis=1))

    def report(self, kind: str, wrong: npt.NDArray[np.bool_], findings: _Findings) -> None:
        """Those that are wrong, (N,) bool, as findings with their boxes."""
        where = np.flatnonzero(wrong).tolist()
        examples = (f"{_named(*self.pairs[idx])}: {_numbers(self.boxes_xyxy[idx])}" for idx in where)
        findings.extend(kind, len(where), examples)


def _check_boxes(labelled: _Labelled, findings: _Findings) -> None:
    low, high = labelled.boxes_xyxy[:, :2], labelled.boxes_xyxy[:, 2:]
    size_wh = labelled.sizes_hw[:, ::-1]
    finite = labelled.finite
    with np.errstate(invalid="ignore"):  # NaN
        empty = (high <= low).any(1)
        outside = ((low >= size_wh) | (high <= 0)).any(1)
        over = ((low < -MOST_OVER_EDGE) | (high > size_wh + MOST_OVER_EDGE)).any(1)
    labelled.report("box-not-finite", ~finite, findings)
    labelled.report("box-empty", finite & empty, findings)
    labelled.report("box-outside", finite & ~empty & outside, findings)
    labelled.report("box-over-edge", finite & ~empty & ~outside & over, findings)


def _check_masks(labelled: _Labelled, findings: _Findings) -> None:
    read = _once(read_mask_values)
    for start in range(0, len(labelled.pairs), _AT_ONCE):
        places: list[int] = []  # in the row of instances, of each code
        codes: list[Rle] = []
        for idx in range(start, min(start + _AT_ONCE, len(labelled.pairs))):
            code = _code(*labelled.pairs[idx], read, findings)
            if code is not None:
                places.append(idx)
                codes.append(code)
        _check_codes(labelled, places, codes, findings)


def _code(
    picture: LabelledPicture, instance: Instance, read: Callable[[Path], npt.NDArray[np.integer]], findings: _Findings
) -> Rle | None:
    """The code of an instance's mask, not yet checked if the file has it compressed; None after a finding."""
    segmentation = instance.segmentation
    if segmentation is None:
        findings.add("no-mask", _named(picture, instance))
        return None
    try:
        if isinstance(segmentation, MaskFile):
            size_hw: tuple[int, ...] = read(segmentation.path).shape
        else:
            size_hw = segmentation.size_hw if isinstance(segmentation, RunLengths) else picture.size_hw
        if size_hw != picture.size_hw:
            came = f"{size_hw[1]} x {size_hw[0]}, picture {picture.size_hw[1]} x {picture.size_hw[0]}"
            findings.add("segmentation-size", f"{_named(picture, instance)}: {came}")
            return None
        if isinstance(segmentation, MaskFile):
            return segmentation.rle_of(read(segmentation.path), picture.size_hw)
        if isinstance(segmentation, RunLengths) and isinstance(segmentation.counts, str) and segmentation.counts:
            return {"size": list(picture.size_hw), "counts": segmentation.counts}  # many are checked at once, later
        return segmentation.rle(picture.size_hw)
    except DataError as error:
        findings.add("bad-segmentation", f"{_named(picture, instance)}: {error}")
        return None


def _check_codes(labelled: _Labelled, places: list[int], codes: list[Rle], findings: _Findings) -> None:
    """Damaged codes, empty masks, and masks elsewhere than their boxes.

    Args:
        labelled: all instances.
        places: which of them the K codes belong to.
        codes: of the size of their pictures.
        findings: where to report.
    """
    whole, areas = read_codes([code["counts"] for code in codes], [labelled.pairs[idx][0].size_hw for idx in places])
    for code_idx in np.flatnonzero(~whole).tolist():
        picture, instance = labelled.pairs[places[code_idx]]
        findings.add("bad-segmentation", f"{_named(picture, instance)}: a damaged run-length code")
    empty = np.zeros(len(labelled.pairs), dtype=np.bool_)
    empty[np.array(places, dtype=np.int64)[whole & (areas == 0)]] = True
    labelled.report("empty-mask", empty, findings)

    place_idx = np.array(places, dtype=np.int64)
    solid = np.flatnonzero(whole & (areas > 0) & labelled.finite[place_idx])
    if not len(solid):
        return
    tight = np.asarray(coco_mask.toBbox([codes[code_idx] for code_idx in solid.tolist()]), dtype=np.float64)
    tight[:, 2:] += tight[:, :2]
    own = place_idx[solid]
    size_wh = labelled.sizes_hw[own][:, ::-1]
    given = labelled.boxes_xyxy[own].clip(0, np.concatenate((size_wh, size_wh), axis=1))
    off = np.zeros(len(labelled.pairs), dtype=np.bool_)
    off[own] = (_iou(given, tight) < LEAST_IOU) & (np.abs(given - tight).max(1) > MOST_SIDE_OFF)
    labelled.report("mask-off-box", off, findings)


def _iou(boxes_xyxy: Boxes, others_xyxy: Boxes) -> Boxes:
    """(N,) pair by pair, in float64: pictures may be large."""
    shared = np.minimum(boxes_xyxy[:, 2:], others_xyxy[:, 2:]) - np.maximum(boxes_xyxy[:, :2], others_xyxy[:, :2])
    inside = shared.clip(0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (boxes_xyxy, others_xyxy)]
    iou: Boxes = inside / np.maximum(areas[0] + areas[1] - inside, 1e-9)
    return iou


def _once(read: Callable[[Path], npt.NDArray[np.integer]]) -> Callable[[Path], npt.NDArray[np.integer]]:
    """Reads a file again only when another was read between; instances of a file follow each other."""
    kept: list[tuple[Path, npt.NDArray[np.integer]]] = []

    def read_once(path: Path) -> npt.NDArray[np.integer]:
        if not kept or kept[0][0] != path:
            kept[:] = [(path, read(path))]
        return kept[0][1]

    return read_once


# --- text -------------------------------------------------------------------------------------------------------------


def _named(picture: LabelledPicture, instance: Instance) -> str:
    return f"{picture.path}, instance {instance.id}"


def _numbers(box: npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in box.tolist()) + ")"


def _line(text: str) -> str:
    """Without characters that a terminal would obey; the middle is left out where it is too long."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text.rstrip())
    if len(clean) <= TABLE_WIDTH:
        return clean
    return f"{clean[: TABLE_WIDTH // 2 - 3]} ... {clean[-(TABLE_WIDTH // 2 - 2) :]}"
