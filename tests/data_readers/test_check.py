"""What is wrong with data sets, one kind after the other, each beside what is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_readers.label_cases import SIZE_HW, rectangle, save_mask, save_picture
from masklet.data.check import KINDS, TABLE_WIDTH, Finding, check_dataset, findings_table
from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.segmentation import MaskFile, Polygons, RunLengths
from masklet.ops.masks import encode_rle

BOX = (5.0, 4.0, 20.0, 30.0)


def instance(box: tuple[float, ...] = BOX, **changes: Any) -> Instance:
    """One whose polygon fills its box."""
    values = {"box_xyxy": box, "segmentation": Polygons(parts=(rectangle(*box),)), "id": "17"}
    return Instance(**(values | changes))


@pytest.fixture
def picture(tmp_path: Path) -> LabelledPicture:
    """One with nothing wrong: two cats, no dog."""
    return LabelledPicture(
        path=save_picture(tmp_path / "1.png"),
        size_hw=SIZE_HW,
        instances=(instance(), instance((20.0, 0.0, 47.0, 31.0))),
        prompts=(Prompt(phrase="cat", instance_idx=(0, 1)), Prompt(phrase="dog")),
    )


def dataset(*pictures: LabelledPicture, vocabulary: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    return Dataset(pictures=pictures, source=Path("set"), format="coco", vocabulary=vocabulary)


def check(*pictures: LabelledPicture, **options: Any) -> list[Finding]:
    return check_dataset(dataset(*pictures), **options)


def only(findings: Sequence[Finding], kind: str, count: int = 1) -> str:
    """The first example of the only finding, which is of this kind."""
    assert [(found.kind, found.count) for found in findings] == [(kind, count)]
    assert findings[0].severity == KINDS[kind][0]
    return findings[0].examples[0]


def with_instance(picture: LabelledPicture, **changes: Any) -> LabelledPicture:
    """The picture with its first instance changed."""
    return replace(picture, instances=(replace(picture.instances[0], **changes), *picture.instances[1:]))


def test_nothing_is_wrong(picture: LabelledPicture) -> None:
    assert check(picture) == []
    assert findings_table([]) == "nothing wrong was found"


# --- data sets and pictures -------------------------------------------------------------------------------------------


def test_no_pictures() -> None:
    assert only(check(), "no-pictures") == "set"


def test_no_positives(picture: LabelledPicture) -> None:
    empty = replace(picture, instances=(), prompts=(Prompt(phrase="dog"),))
    assert (
        only(check(empty, replace(empty, path=save_picture(picture.path.with_name("2.png")))), "no-positives") == "set"
    )
    crowd = with_instance(replace(picture, prompts=(Prompt(phrase="cat", instance_idx=(0,)),)), crowd=True)
    only(check(crowd), "no-positives")


def test_missing_pictures(picture: LabelledPicture) -> None:
    missing = [replace(picture, path=picture.path.with_name(f"{n}.jpg")) for n in range(5)]
    assert only(check(picture, *missing), "missing-picture", 5) == str(missing[0].path)
    assert len(check(*missing)[0].examples) == 3
    assert only(check(replace(picture, path=Path("a" * 5000))), "missing-picture").startswith("aaa")
    only(check(replace(picture, path=Path("a\0b"))), "missing-picture")


def test_unreadable_pictures(picture: LabelledPicture) -> None:
    for name, content in (
        ("empty.jpg", b""),
        ("text.jpg", b"no picture"),
        ("half.png", picture.path.read_bytes()[:20]),
    ):
        path = picture.path.with_name(name)
        path.write_bytes(content)
        assert name in only(check(replace(picture, path=path)), "unreadable-picture")
    only(check(replace(picture, path=picture.path.parent)), "unreadable-picture")


def test_pictures_of_another_size(picture: LabelledPicture) -> None:
    other = replace(picture, path=save_picture(picture.path.with_name("2.png"), (31, 48)))
    assert only(check(other), "picture-size").endswith("2.png: 48 x 31, labels 47 x 31")
    other = replace(picture, path=save_picture(picture.path.with_name("3.png"), SIZE_HW[::-1]))
    assert only(check(other), "picture-size").endswith("height and width are exchanged")


def test_pictures_that_exif_data_turns(picture: LabelledPicture) -> None:
    def turned(name: str, orientation: int, size_hw: tuple[int, int]) -> LabelledPicture:
        path = save_picture(picture.path.with_name(name), size_hw, orientation=orientation)
        return replace(picture, path=path)

    assert check(turned("shown.jpg", 6, SIZE_HW[::-1])) == []
    assert only(check(turned("stored.jpg", 6, SIZE_HW)), "stored-rows").endswith("stored.jpg")
    assert only(check(turned("half.jpg", 3, SIZE_HW)), "turned-or-not").endswith("half.jpg")
    assert check(turned("plain.jpg", 1, SIZE_HW)) == []


def test_the_same_picture_twice(picture: LabelledPicture) -> None:
    other_name = replace(picture, path=picture.path.parent / "x" / ".." / "1.png")
    assert only(check(picture, other_name, picture), "same-picture", 2) == str(other_name.path)


# --- boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(4))
def test_boxes_that_are_not_finite(picture: LabelledPicture, wrong: float, place: int) -> None:
    box = (*BOX[:place], wrong, *BOX[place + 1 :])
    text = only(check(with_instance(picture, box_xyxy=box)), "box-not-finite")
    assert text.startswith(f"{picture.path}, instance 17: (") and str(wrong) in text


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((5, 4, 5, 30), "box-empty"),
        ((5, 4, 20, 4), "box-empty"),
        ((20, 4, 5, 30), "box-empty"),
        ((47, 4, 60, 30), "box-outside"),
        ((5, 31, 20, 40), "box-outside"),
        ((-9, 4, 0, 30), "box-outside"),
        ((5, -9, 20, 0), "box-outside"),
        ((5, 4, 49, 30), "box-over-edge"),
        ((5, 4, 20, 33), "box-over-edge"),
        ((-2, 4, 20, 30), "box-over-edge"),
        ((5, -2, 20, 30), "box-over-edge"),
        ((-1, -1, 48, 32), None),
        ((5, 4, 5.5, 4.5), None),
    ],
)
def test_boxes_without_a_place(picture: LabelledPicture, box: tuple[float, ...], kind: str | None) -> None:
    findings = check(with_instance(picture, box_xyxy=box, segmentation=None))
    assert [found.kind for found in findings] == ([] if kind is None else [kind]) + ["no-mask"]


# --- masks ------------------------------------------------------------------------------------------------------------


def mask_of(*box: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def segmentations(tmp_path: Path, box: tuple[int, int, int, int]) -> list[Any]:
    """The same mask in every form."""
    mask = mask_of(*box)
    plain = [len(list(run)) for run in np.split(mask.T.ravel(), np.flatnonzero(np.diff(mask.T.ravel())) + 1)]
    return [
        RunLengths(size_hw=SIZE_HW, counts=encode_rle(mask)["counts"]),
        RunLengths(size_hw=SIZE_HW, counts=tuple(plain)),
        Polygons(parts=(rectangle(*box),)),
        MaskFile(path=save_mask(tmp_path / "mask.png", [(3, box)]), value=3),
    ]


def test_masks_that_fit_their_boxes(picture: LabelledPicture, tmp_path: Path) -> None:
    for segmentation in segmentations(tmp_path, (5, 4, 20, 30)):
        assert check(with_instance(picture, segmentation=segmentation)) == []


def test_masks_elsewhere_than_their_boxes(picture: LabelledPicture, tmp_path: Path) -> None:
    for segmentation in segmentations(tmp_path, (13, 4, 28, 30)):  # IoU 7/23
        assert "instance 17: (5, 4, 20, 30)" in only(
            check(with_instance(picture, segmentation=segmentation)), "mask-off-box"
        )
    for segmentation in segmentations(tmp_path, (9, 4, 24, 30)):  # IoU 11/19
        assert check(with_instance(picture, segmentation=segmentation)) == []


def test_tiny_things_may_differ_by_rounding(picture: LabelledPicture, tmp_path: Path) -> None:
    for segmentation in segmentations(tmp_path, (5, 4, 6, 5)):
        assert check(with_instance(picture, segmentation=segmentation, box_xyxy=(4.5, 3.5, 7.5, 6.5))) == []


def test_what_is_over_the_edge_is_cut_before_it_is_compared(picture: LabelledPicture) -> None:
    box = (27.0, 4.0, 97.0, 30.0)
    only(check(with_instance(picture, box_xyxy=box, segmentation=Polygons(parts=(rectangle(*box),)))), "box-over-edge")


def test_empty_masks(picture: LabelledPicture) -> None:
    empty = [
        RunLengths(size_hw=SIZE_HW, counts=encode_rle(mask_of(0, 0, 0, 0))["counts"]),
        RunLengths(size_hw=SIZE_HW, counts=""),
        RunLengths(size_hw=SIZE_HW, counts=(31 * 47,)),
        Polygons(parts=((1.0, 2.0, 3.0, 4.0),)),
        Polygons(parts=()),
        Polygons(parts=(rectangle(60, 4, 70, 30),)),
    ]
    for segmentation in empty:
        only(check(with_instance(picture, segmentation=segmentation)), "empty-mask")


def test_the_instance_that_is_wrong_is_named(picture: LabelledPicture) -> None:
    empty = instance((1.0, 2.0, 3.0, 4.0), segmentation=Polygons(parts=()), id="empty")
    found = {finding.kind: finding.examples for finding in check(replace(picture, instances=(instance(), empty)))}
    assert found == {"empty-mask": (f"{picture.path}, instance empty: (1, 2, 3, 4)",)}
    box_first = replace(picture, instances=(instance(segmentation=None), empty))
    found = {finding.kind: finding.examples for finding in check(box_first)}
    assert found["empty-mask"] == (f"{picture.path}, instance empty: (1, 2, 3, 4)",)


def test_every_mask_file_is_read(picture: LabelledPicture, tmp_path: Path) -> None:
    boxes = ((5, 4, 20, 30), (30, 2, 40, 9))
    files = [save_mask(tmp_path / f"{n}.png", [(1, box)]) for n, box in enumerate(boxes)]
    instances = tuple(
        instance(box, segmentation=MaskFile(path=path, value=1)) for box, path in zip(boxes, files, strict=True)
    )
    assert check(replace(picture, instances=instances)) == []


def test_masks_of_another_size(picture: LabelledPicture, tmp_path: Path) -> None:
    size_hw = SIZE_HW[::-1]
    other = [
        RunLengths(size_hw=size_hw, counts=encode_rle(np.ones(size_hw, dtype=np.bool_))["counts"]),
        RunLengths(size_hw=size_hw, counts=(0, 31 * 47)),
    ]
    for segmentation in other:
        text = only(check(with_instance(picture, segmentation=segmentation)), "segmentation-size")
        assert text.endswith("instance 17: 31 x 47, picture 47 x 31")
    path = save_mask(tmp_path / "mask.png", [(1, (5, 4, 20, 30))])
    for n, size in enumerate(((31, 48), (31, 47))):
        own = replace(picture, path=save_picture(tmp_path / f"{n}.jpg", size), size_hw=size)
        found = check(with_instance(own, segmentation=MaskFile(path=path, value=1)))
        assert [finding.kind for finding in found] == (["segmentation-size"] if size == (31, 48) else [])


def test_bad_segmentations(picture: LabelledPicture, tmp_path: Path) -> None:
    code = encode_rle(mask_of(5, 4, 20, 30))["counts"]
    bad = [
        RunLengths(size_hw=SIZE_HW, counts=code[:-1]),
        RunLengths(size_hw=SIZE_HW, counts=code + "o"),
        RunLengths(size_hw=SIZE_HW, counts="é" + code),
        RunLengths(size_hw=SIZE_HW, counts="\ud800" + code),
        RunLengths(size_hw=SIZE_HW, counts=(5, -5)),
        Polygons(parts=([1.0, 2.0, math.nan, 4.0, 5.0, 6.0],)),
        Polygons(parts=([1.0] * 7,)),
        MaskFile(path=tmp_path / "none.png", value=1),
    ]
    for segmentation in bad:
        assert "instance 17: " in only(check(with_instance(picture, segmentation=segmentation)), "bad-segmentation")
    # One that is damaged spoils none beside it.
    many = replace(picture, instances=(*(instance(segmentation=own) for own in bad), *picture.instances))
    many = replace(many, prompts=(Prompt(phrase="cat", instance_idx=(len(bad), len(bad) + 1)),))
    only(check(many), "bad-segmentation", len(bad))


def test_boxes_only(picture: LabelledPicture) -> None:
    assert only(check(with_instance(picture, segmentation=None)), "no-mask") == f"{picture.path}, instance 17"


def test_more_instances_than_are_taken_at_once(picture: LabelledPicture) -> None:
    whole = replace(picture, instances=picture.instances[:1] * 4095, prompts=(Prompt(phrase="cat", instance_idx=(0,)),))
    path = save_picture(picture.path.with_name("2.png"))
    wrong = RunLengths(size_hw=SIZE_HW, counts="0")
    damaged = replace(with_instance(picture, segmentation=wrong, id="wrong"), path=path)
    off = replace(damaged, path=save_picture(picture.path.with_name("3.png")))
    off = with_instance(off, segmentation=Polygons(parts=(rectangle(30, 4, 40, 30),)), id="off")
    findings = {found.kind: found for found in check(whole, damaged, off)}
    assert {kind: found.count for kind, found in findings.items()} == {"bad-segmentation": 1, "mask-off-box": 1}
    assert "2.png, instance wrong" in findings["bad-segmentation"].examples[0]
    assert "3.png, instance off" in findings["mask-off-box"].examples[0]


# --- phrases and prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phrase", ["", " ", "\t\n", "\u00a0"])
def test_empty_phrases(picture: LabelledPicture, phrase: str) -> None:
    assert only(check(replace(picture, prompts=(*picture.prompts, Prompt(phrase=phrase)))), "empty-phrase") == (
        f"{picture.path}: {phrase!r}"
    )
    named = dataset(picture, vocabulary=("cat", phrase))
    assert only(check_dataset(named), "empty-phrase") == f"set: {phrase!r}"


def test_phrases_that_look_alike(picture: LabelledPicture) -> None:
    more = replace(picture, prompts=(*picture.prompts, Prompt(phrase="Dog ")))
    named = dataset(more, vocabulary=("cat", "dog", "red  apple", "red apple", "redapple", " RED apple"))
    findings = check_dataset(named)
    assert only(findings, "similar-phrases", 5) == "'dog', 'Dog '"
    assert findings[0].examples[1] == "'red  apple', 'red apple', ' RED apple'"


def test_a_phrase_that_is_asked_twice(picture: LabelledPicture) -> None:
    twice = replace(picture, prompts=(*picture.prompts, *picture.prompts))
    assert only(check(twice), "same-phrase", 2) == f"{picture.path}: 'cat'"


def test_the_same_instance_twice(picture: LabelledPicture) -> None:
    twice = replace(picture, instances=(instance(), instance(id="18"), instance(id="19")))
    three = replace(twice, prompts=(Prompt(phrase="cat", instance_idx=(0, 1, 2)),))
    assert only(check(three), "same-instance", 2) == f"{picture.path}, instance 18: 'cat'"
    # The same place may have two names.
    assert check(replace(twice, prompts=tuple(Prompt(phrase=str(n), instance_idx=(n,)) for n in range(3)))) == []


def test_more_instances_than_queries(picture: LabelledPicture) -> None:
    assert only(check(picture, most_instances=1), "many-instances") == f"{picture.path}: 'cat' has 2"
    assert check(picture, most_instances=2) == []
    assert check(with_instance(picture, crowd=True), most_instances=1) == [], "a crowd is no instance"


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_table_of_all_kinds_is_narrow_plain_text() -> None:
    examples = ("short", "x" * 300, "bell \a, line\nbreak, \x1b[31mred", "été 日本")
    findings = [
        Finding(kind=kind, severity=severity, count=10**7 if n else 4, examples=examples)
        for n, (kind, (severity, _)) in enumerate(KINDS.items())
    ]
    lines = findings_table(findings).split("\n")
    assert max(map(len, lines)) == TABLE_WIDTH == 100
    assert all(line.isprintable() for line in lines)
    assert lines[0].split()[:3] == ["fatal", "4", "no-pictures"]
    assert lines[1].strip() == "short" and "xxx ... xxx" in lines[2]
    assert lines[3].strip() == "bell ?, line?break, ?[31mred" and lines[4].strip() == "été 日本"
    assert lines[5].split()[:3] == ["fatal", "10000000", "no-positives"]
    assert lines[10].strip() == "...", "there are more than are shown"
    assert [kind for kind in KINDS if f" {kind} " in findings_table(findings)] == list(KINDS)


def test_what_a_kind_means_fits_its_line() -> None:
    for kind, (severity, meaning) in KINDS.items():
        line, _ = findings_table([Finding(kind=kind, severity=severity, count=1, examples=("x",))]).split("\n")
        assert line.endswith(meaning), "not cut in the middle"


def test_findings_come_in_the_order_of_the_kinds(picture: LabelledPicture) -> None:
    wrong = with_instance(replace(picture, path=Path("none.jpg")), segmentation=None, box_xyxy=(5, 4, 5, 30))
    kinds = [found.kind for found in check(wrong, wrong)]
    assert kinds == ["missing-picture", "box-empty", "no-mask", "same-picture"]
