"""A user's labels as batches: what is asked, with which answers, and that all of it follows from the step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from masklet.config import TEST
from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.segmentation import Polygons
from masklet.data.transforms import PLAIN
from masklet.errors import ConfigError, DataError
from masklet.model.tokenizer import Tokenizer
from masklet.ops.boxes import cxcywh_to_xyxy
from masklet.ops.masks import masks_to_boxes
from masklet.training.samples import LabelledBatches, PromptSampling

BOXES = [(6.0, 6.0, 30.0, 24.0), (40.0, 10.0, 60.0, 30.0), (2.0, 30.0, 20.0, 40.0)]
PLAINLY = PromptSampling(shown=0, shown_too=0)


def labelled(folder: Path, name: str, prompts: tuple[Prompt, ...], *, crowd: int | None = None) -> LabelledPicture:
    Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / name)
    corners = [(x0, y0, x1, y0, x1, y1, x0, y1) for x0, y0, x1, y1 in BOXES]
    instances = tuple(
        # The last one has a box and no mask.
        Instance(box_xyxy=box, segmentation=Polygons(parts=(part,)) if idx < 2 else None, crowd=idx == crowd)
        for idx, (box, part) in enumerate(zip(BOXES, corners, strict=True))
    )
    return LabelledPicture(path=folder / name, size_hw=(48, 64), instances=instances, prompts=prompts)


def data(folder: Path, *pictures: LabelledPicture) -> Dataset:
    return Dataset(pictures=pictures, source=folder, format="coco")


def batches(dataset: Dataset, **changes: Any) -> LabelledBatches:
    options = {"prompts": PLAINLY, "augmentation": PLAIN, "images": 1, "batches": 1, "seed": 0} | changes
    return LabelledBatches(dataset, TEST, **options)


CAT, DOG, COW = Prompt(phrase="cat", instance_idx=(0, 1)), Prompt(phrase="dog", instance_idx=(2,)), Prompt(phrase="cow")


def test_prompts_and_answers(tmp_path: Path) -> None:
    dataset = data(tmp_path, labelled(tmp_path, "a.png", (CAT, COW, DOG)))
    (batch,) = batches(dataset)[0]
    assert batch.pixels.shape == (1, 3, 84, 84)
    assert batch.image_idx.tolist() == [0, 0, 0]
    tokenizer = Tokenizer(TEST.text.context, TEST.text.merges)
    assert torch.equal(batch.token_ids, tokenizer(["cat", "cow", "dog"]))
    assert batch.targets.counts.tolist() == [2, 0, 1]
    expected = torch.tensor(BOXES) / torch.tensor([64, 48, 64, 48])
    torch.testing.assert_close(cxcywh_to_xyxy(batch.targets.boxes_cxcywh_norm), expected)
    assert batch.with_masks.tolist() == [True, False, False]
    assert batch.targets.masks is not None and batch.targets.masks_valid is not None
    assert batch.targets.masks_valid.tolist() == [True, True, False]
    found = masks_to_boxes(batch.targets.masks[:2] > 0.5) / batch.targets.masks.shape[-1]
    torch.testing.assert_close(found, expected[:2], atol=0.05, rtol=0)  # a cell is 0.04
    assert batch.exemplars.box_valid.shape == (3, 0)


def test_crowds_and_what_is_cut_away_are_no_answers(tmp_path: Path) -> None:
    dataset = data(tmp_path, labelled(tmp_path, "a.png", (CAT,), crowd=1))
    (batch,) = batches(dataset)[0]
    assert batch.targets.counts.tolist() == [1]


def test_what_cannot_be_asked_is_left_out(tmp_path: Path) -> None:
    """Crowds alone are no answer and no absence; absent concepts may be unwanted; other pictures go on."""
    crowd_only = labelled(tmp_path, "a.png", (DOG,), crowd=2)
    absent_only = labelled(tmp_path, "b.png", (COW,))
    too_many = labelled(tmp_path, "c.png", (Prompt(phrase="all", instance_idx=(0,) * 13),))
    fine = labelled(tmp_path, "d.png", (CAT, DOG), crowd=2)
    source = batches(data(tmp_path, crowd_only, absent_only, too_many, fine), prompts=replace(PLAINLY, absent=0))
    assert [picture.path.name for picture in source.pictures] == ["d.png"]
    (batch,) = source[5]
    assert batch.targets.counts.tolist() == [2]
    with pytest.raises(DataError, match="prompts that can be asked"):
        batches(data(tmp_path, crowd_only, too_many))


def test_at_most_so_many_with_answers_first(tmp_path: Path) -> None:
    absent = tuple(Prompt(phrase=f"thing {number}") for number in range(20))
    dataset = data(tmp_path, labelled(tmp_path, "a.png", (*absent[:10], CAT, *absent[10:], DOG)))
    for step in range(5):
        (batch,) = batches(dataset, prompts=replace(PLAINLY, most=6, absent=3))[step]
        assert sorted(batch.targets.counts.tolist()) == [0, 0, 0, 1, 2]
        (batch,) = batches(dataset, prompts=replace(PLAINLY, most=1))[step]
        assert batch.targets.counts.tolist() in ([1], [2])
    many = Prompt(phrase="crowd", instance_idx=(0,) * 13)  # more than the twelve queries
    (batch,) = batches(data(tmp_path, labelled(tmp_path, "b.png", (many, DOG))))[0]
    assert batch.targets.counts.tolist() == [1]


def test_exemplars_alone_and_with_the_phrase(tmp_path: Path) -> None:
    dataset = data(tmp_path, labelled(tmp_path, "a.png", (CAT, COW)))
    visual, cat = Tokenizer(TEST.text.context, TEST.text.merges)(["visual", "cat"])
    kinds: Counter[str] = Counter()
    several = 0
    source = batches(dataset, prompts=PromptSampling(shown=0.3, shown_too=0.4))
    for step in range(300):
        (batch,) = source[step]
        count = int(batch.exemplars.box_valid[0].sum())
        several += count > 1
        assert not batch.exemplars.box_valid[1].any()  # nothing can be shown of what is not there
        assert batch.exemplars.box_labels[0, :count].tolist() == [1] * count
        if torch.equal(batch.token_ids[0], visual):
            kinds["shown"] += 1
            assert count
        else:
            assert torch.equal(batch.token_ids[0], cat)
            kinds["both" if count else "named"] += 1
        for box in batch.exemplars.boxes_cxcywh_norm[0, :count]:
            # A drawn box is within 20 of 1008 pixels of one that is there.
            off = (cxcywh_to_xyxy(box) - cxcywh_to_xyxy(batch.targets.boxes_cxcywh_norm)).abs().max(1).values.min()
            assert off <= 20 / 1008 + 1e-6
    assert kinds["shown"] == pytest.approx(90, abs=25)
    assert kinds["both"] == pytest.approx(120, abs=27)
    assert several > 30


def test_exemplars_of_the_labels_stay(tmp_path: Path) -> None:
    shown = Prompt(phrase="visual", instance_idx=(0, 1), positive_idx=(1,), negative_idx=(2,))
    (batch,) = batches(data(tmp_path, labelled(tmp_path, "a.png", (shown,))))[3]
    assert batch.exemplars.box_labels.tolist() == [[1, 0]]
    centres = torch.tensor([[50 / 64, 20 / 48], [11 / 64, 35 / 48]])
    torch.testing.assert_close(batch.exemplars.boxes_cxcywh_norm[0, :, :2], centres, atol=0.03, rtol=0)


def test_rounds_through_the_data(tmp_path: Path) -> None:
    pictures = [labelled(tmp_path, f"{name}.png", (DOG,)) for name in "abcde"]
    nothing = labelled(tmp_path, "f.png", ())
    source = batches(data(tmp_path, *pictures, nothing), images=2, batches=2)
    names = [source.picture(number).path.name for number in range(20)]
    rounds = [names[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(one) == [f"{name}.png" for name in "abcde"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    step = source[1]
    assert len(step) == 2
    assert [len(batch.pixels) for batch in step] == [2, 2]


def test_what_shall_not_be_forgotten_comes_at_even_distances(tmp_path: Path) -> None:
    new = data(tmp_path, *(labelled(tmp_path, f"{name}.png", (DOG,)) for name in "abc"))
    old = data(tmp_path, *(labelled(tmp_path, f"{name}.png", (CAT,)) for name in "xy"))
    source = batches(new, replay=old, replay_share=0.4, images=5)
    names = [source.picture(number).path.stem for number in range(20)]
    assert [name for number, name in enumerate(names) if number % 5 in (2, 4)] == [n for n in names if n in "xy"]
    of_new, of_old = ([name for name in names if name in known] for known in ("abc", "xy"))
    assert all(sorted(of_new[start : start + 3]) == ["a", "b", "c"] for start in range(0, 12, 3))
    assert all(sorted(of_old[start : start + 2]) == ["x", "y"] for start in range(0, 8, 2))
    assert source.pictures_of(1) == [source.picture(number) for number in range(5, 10)]
    with pytest.raises(DataError, match="expected pictures with prompts that can be asked"):
        batches(new, replay=data(tmp_path), replay_share=0.4)


def test_the_same_step_is_the_same_batch(tmp_path: Path) -> None:
    dataset = data(tmp_path, *(labelled(tmp_path, f"{name}.png", (CAT, DOG, COW)) for name in "ab"))
    one, two = (
        batches(dataset, prompts=PromptSampling(), augmentation=replace(PLAIN, smallest=0.5, steps=9, brightness=0.3))
        for _ in range(2)
    )
    for step in (4, 0, 7):
        (ours,), (theirs,) = one[step], two[step]
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.exemplars.boxes_cxcywh_norm, theirs.exemplars.boxes_cxcywh_norm)
    other = batches(dataset, augmentation=replace(PLAIN, smallest=0.5, steps=9), seed=1)
    assert any(not torch.equal(other[step][0].pixels, one[step][0].pixels) for step in range(3))
    assert np.isfinite(one[0][0].pixels.numpy()).all()


def test_nothing_to_learn_and_impossible_settings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected pictures with prompts that can be asked"):
        batches(data(tmp_path, labelled(tmp_path, "a.png", ())))
    for wrong in ({"most": 0}, {"absent": -1}, {"rounds": -1}, {"shown": 0.8, "shown_too": 0.3}, {"shown": -0.1}):
        with pytest.raises(ConfigError, match=r"prompts[:.]"):
            PromptSampling(**wrong)  # type: ignore[arg-type]
