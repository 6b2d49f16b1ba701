"""Batches say what is true of their pictures; every label is derived again here by a plain loop."""

import numpy as np
import pytest
import torch
from torch import Tensor

from masklet.config import TEST
from masklet.media.images import to_pixels
from masklet.synthetic.scenes import Crowd
from masklet.synthetic.symbols import COLOURS
from masklet.synthetic.world import training_scene
from masklet.training.batches import BACKGROUND, MIXED, BatchMaker, DenseBatch, PromptBatch
from masklet.types import VISUAL

SIZE = 84  # 6 x 6 patches of 14 pixels


@pytest.fixture(scope="module")
def dense(maker: BatchMaker) -> DenseBatch:
    return maker.dense(3, images=4, size=SIZE, questions=3)


@pytest.fixture(scope="module")
def prompts(maker: BatchMaker) -> PromptBatch:
    return maker.prompts(5, images=6, size=SIZE, questions=6, mask_prompts=4)


def tensors(value: object) -> list[Tensor]:
    found = []
    for part in vars(value).values():
        found += [part] if isinstance(part, Tensor) else tensors(part) if hasattr(part, "__dict__") else []
    return found


def test_a_seed_is_all_there_is_to_a_batch(maker: BatchMaker) -> None:
    for make in (maker.dense, lambda seed, **sizes: maker.prompts(seed, mask_prompts=4, **sizes)):
        first, again, other = (make(seed, images=2, size=SIZE, questions=3) for seed in (8, 8, 9))
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))
        assert not torch.equal(first.pixels, other.pixels)


def test_dense_labels_equal_a_loop_over_patches(maker: BatchMaker, dense: DenseBatch) -> None:
    for image in range(4):
        scene, _ = training_scene(3 * 4 + image, (SIZE, SIZE), questions=3, crowd=Crowd(), sheet=maker.sheet)
        assert torch.equal(dense.pixels[image], to_pixels(scene.image, SIZE)[0])
        for row in range(6):
            for column in range(6):
                patch = scene.label_map[row * 14 : row * 14 + 14, column * 14 : column * 14 + 14]
                counts = [(patch == i + 1).mean() for i in range(len(scene.instances))]
                covered = (patch > 0).mean()
                expected = MIXED
                if max(counts, default=0) >= 0.25:
                    expected = int(np.argmax(counts)) + 1
                elif covered < 0.05:
                    expected = BACKGROUND
                assert dense.patch_instances[image, row, column] == expected
                assert dense.coverage[image, row, column] == pytest.approx(covered, abs=1e-6)


def test_dense_instances_carry_symbol_colour_box_and_mask(maker: BatchMaker, dense: DenseBatch) -> None:
    for image in range(4):
        scene, _ = training_scene(3 * 4 + image, (SIZE, SIZE), questions=3, crowd=Crowd(), sheet=maker.sheet)
        number = len(scene.instances)
        assert (dense.symbols[image, number:] == -1).all() and not dense.masks[image, number:].any()
        for i, instance in enumerate(scene.instances):
            assert maker.named[dense.symbols[image, i]] == instance.symbol_idx
            colour = maker.book.colour_of(instance)
            assert dense.colours[image, i] == (-1 if colour is None else COLOURS.index(colour))
            cx, cy, width, height = (dense.boxes_cxcywh_norm[image, i] * SIZE).tolist()
            x0, y0, x1, y1 = instance.box_xyxy
            assert (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2) == pytest.approx((x0, y0, x1, y1))
            # 84 pixels on 24 cells: a cell is 3.5 pixels wide, so the covered area is kept only in the mean.
            area = float(dense.masks[image, i].float().mean()) * SIZE**2
            assert area == pytest.approx(instance.area_px, rel=0.15)


def test_truths_follow_the_phrase_book(maker: BatchMaker, dense: DenseBatch) -> None:
    asked = [
        question
        for image in range(4)
        for question in training_scene(12 + image, (SIZE, SIZE), questions=3, crowd=Crowd(), sheet=maker.sheet)[1]
        if question.phrase != VISUAL and not question.positives and not question.negatives
    ]
    phrases = list(dict.fromkeys(question.phrase for question in asked))
    assert torch.equal(dense.phrase_ids, maker.tokenizer(phrases))
    assert dense.truths.unique().tolist() in ([-1, 0, 1], [0, 1])
    for question in asked:
        row = dense.truths[phrases.index(question.phrase)]
        assert any(set((row[image] == 1).nonzero()[:, 0].tolist()) == set(question.instances) for image in range(4))


def test_each_named_symbol_gets_a_noun_of_its_own(maker: BatchMaker, dense: DenseBatch) -> None:
    assert len(dense.noun_ids) == len(maker.named) == sum(symbol.named for symbol in maker.sheet.symbols)
    for row, words in zip(maker.named, maker._own_nouns, strict=True):
        assert all(maker.book.nouns[word] == {row} for word in words)


def test_prompts_answer_their_questions(maker: BatchMaker, prompts: PromptBatch) -> None:
    targets = prompts.targets
    assert len(prompts.image_idx) == len(prompts.token_ids) == len(targets.counts) == len(prompts.with_masks)
    assert targets.counts.sum() == len(targets.boxes_cxcywh_norm) == len(targets.masks)
    assert 0 < prompts.with_masks.sum() <= 4
    assert (targets.counts[prompts.with_masks] > 0).all()
    assert torch.equal(targets.masks_valid, prompts.with_masks.repeat_interleave(targets.counts))
    # Box and mask of an instance tell the same place: the mask's weight lies inside the box, one cell of slack.
    cells = targets.masks.shape[-1]
    centres = (torch.arange(cells) + 0.5) / cells
    for box, mask in zip(targets.boxes_cxcywh_norm, targets.masks, strict=True):
        inside_x = (centres - box[0]).abs() <= box[2] / 2 + 1 / cells
        inside_y = (centres - box[1]).abs() <= box[3] / 2 + 1 / cells
        assert mask.sum() > 0
        assert mask[inside_y][:, inside_x].sum() == pytest.approx(float(mask.sum()))


def test_exemplars_mark_the_right_instances(maker: BatchMaker) -> None:
    kinds = set()
    for seed in range(12):
        batch = maker.prompts(seed, images=4, size=SIZE, questions=6, mask_prompts=4)
        exemplars, targets = batch.exemplars, batch.targets
        starts = targets.counts.cumsum(0) - targets.counts
        boxes = exemplars.boxes_cxcywh_norm[exemplars.box_valid]
        assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-6).all() and (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-6).all()
        for prompt in range(len(targets.counts)):
            answers = targets.boxes_cxcywh_norm[starts[prompt] : starts[prompt] + targets.counts[prompt]]
            for box, label, valid in zip(
                exemplars.boxes_cxcywh_norm[prompt],
                exemplars.box_labels[prompt],
                exemplars.box_valid[prompt],
                strict=True,
            ):
                if valid and label:
                    # An edge is off by at most 15 % of the side, so the centre by at most that.
                    assert ((answers[:, :2] - box[:2]).abs() <= 0.15 * answers[:, 2:] + 1e-6).all(-1).any()
                    kinds.add("positive box")
                elif valid:
                    kinds.add("negative box")
            for point, label, valid in zip(
                exemplars.points_xy_norm[prompt],
                exemplars.point_labels[prompt],
                exemplars.point_valid[prompt],
                strict=True,
            ):
                if valid and label:
                    assert ((answers[:, :2] - point).abs() <= answers[:, 2:] / 2 + 1e-6).all(-1).any()
                    kinds.add("positive point")
    assert kinds == {"positive box", "negative box", "positive point"}


def test_pictures_are_of_several_shapes(maker: BatchMaker) -> None:
    """Users' pictures are not square; stretched ones must be in the training."""
    from masklet.training.batches import _size_hw

    sizes = {_size_hw(np.random.default_rng(seed), 84, (1.0, 1.0)) for seed in range(40)}
    assert (84, 84) in sizes
    assert any(height > width for height, width in sizes) and any(height < width for height, width in sizes)
    assert all(min(size) == 84 and max(size) <= 84 * 1.56 for size in sizes)


def test_the_configuration_sets_vocabulary_and_context(dense: DenseBatch) -> None:
    assert dense.noun_ids.shape[1] == TEST.text.context
    assert dense.noun_ids.max() < TEST.text.vocabulary


def test_more_prompts_by_exemplars_alone(maker: BatchMaker) -> None:
    sizes = {"images": 6, "size": SIZE, "questions": 3, "mask_prompts": 4}
    plain, more = maker.prompts(5, **sizes), maker.prompts(5, shown=2, **sizes)
    assert torch.equal(plain.pixels, more.pixels)
    visual = maker.tokenizer([VISUAL])[0]
    for image in range(6):
        before, after = plain.token_ids[plain.image_idx == image], more.token_ids[more.image_idx == image]
        assert torch.equal(after[: len(before)], before)
        assert 0 <= len(after) - len(before) <= 2
        assert (after[len(before) :] == visual).all()
    assert len(more.token_ids) > len(plain.token_ids) + 4
    marks = (
        more.exemplars.box_labels * more.exemplars.box_valid,
        more.exemplars.point_labels * more.exemplars.point_valid,
    )
    shown = (more.token_ids == visual).all(1)
    positive = marks[0].sum(1) + marks[1].sum(1) > 0
    assert positive[shown].float().mean() > 0.8  # some questions of all kinds show a counter-example alone


def test_more_prompts_about_colours(maker: BatchMaker) -> None:
    sizes = {"images": 6, "size": SIZE, "questions": 3, "mask_prompts": 40}
    plain, more = maker.prompts(5, **sizes), maker.prompts(5, coloured=3, **sizes)
    words = maker.tokenizer(list(COLOURS))[:, 1]  # one token each
    added, answers = 0, []
    for image in range(6):
        before, after = plain.token_ids[plain.image_idx == image], more.token_ids[more.image_idx == image]
        assert torch.equal(after[: len(before)], before)
        added += len(after) - len(before)
        assert torch.isin(after[len(before) :], words).any(1).all()
        answers += more.targets.counts[more.image_idx == image][len(before) :].tolist()
    assert added > 6
    assert 0.2 < np.mean([count > 0 for count in answers]) < 0.8  # right colours and wrong ones


def test_more_prompts_by_kinds_and_by_words_that_are_no_symbol(maker: BatchMaker) -> None:
    sizes = {"images": 6, "size": SIZE, "questions": 3, "mask_prompts": 40}
    plain = maker.prompts(5, **sizes)
    kinds, words = maker.prompts(5, categories=2, **sizes), maker.prompts(5, words=2, **sizes)
    strays = maker.prompts(5, strays=2, **sizes)
    assert not torch.equal(words.token_ids, strays.token_ids)
    for more, there in ((kinds, True), (words, False), (strays, False)):
        assert torch.equal(plain.pixels, more.pixels)
        added = len(more.token_ids) - len(plain.token_ids)
        assert 3 < added <= 12
        for image in range(6):
            before = int((plain.image_idx == image).sum())
            counts = more.targets.counts[more.image_idx == image][before:]
            assert ((counts > 0) == there).all()


def test_scenes_of_other_sizes_than_the_input(maker: BatchMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same prompts about scenes that are drawn smaller or larger and resized."""
    from masklet.training import batches

    drawn: list[int] = []
    monkeypatch.setattr(
        batches,
        "to_pixels",
        lambda image, size: (drawn.append(min(image.shape[:2])), torch.zeros(1, 3, size, size))[1],
    )
    batch = maker.prompts(5, images=8, size=SIZE, questions=2, mask_prompts=4, scene_scale=(0.6, 1.5))
    assert batch.pixels.shape[-2:] == (SIZE, SIZE)
    assert 0.6 * SIZE - 1 <= min(drawn) < 0.8 * SIZE < 1.2 * SIZE < max(drawn) <= 1.5 * SIZE + 1
