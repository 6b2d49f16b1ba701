"""Training of the tracker through its public surface, on the smallest model and eighteen sprites."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.checkpoint.load import load_model
from masklet.config import TEST
from masklet.errors import ConfigError
from masklet.losses.tracker import tracker_loss
from masklet.model.build import build_model
from masklet.model.neck import Neck
from masklet.model.tracker import Tracker
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN, make_clip
from masklet.training.clip_batches import ClipBatchMaker
from masklet.training.distributed import Processes
from masklet.training.follow import FollowSteps, follow_loss
from masklet.training.follow_task import DEFAULT_TRACKER_RECIPE, FollowRecipe, FollowStage, FollowTask
from masklet.training.loop import Loop
from masklet.types import MaskCandidates, PointPrompts, TrackerFeatures

CPU = torch.device("cpu")
STEPS = FollowSteps(clips=2, frames=3, objects=2)
RECIPE = FollowRecipe(
    preset="test",
    tracker=TEST.tracker,
    ema=0.9,
    stages=(
        FollowStage(name="one", steps=3, image_size=84, warmup=2, follow=STEPS),
        FollowStage(name="two", steps=2, image_size=112, follow=replace(STEPS, clips=1)),
    ),
)


@pytest.fixture(scope="module")
def clip_maker(sheet: SpriteSheet) -> ClipBatchMaker:
    return ClipBatchMaker(TEST.vision.patch_size, sheet)


def asked_of(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> list[tuple[PointPrompts, MaskCandidates]]:
    """What the tracker will have been asked by points, and what it answered, in order."""
    asked: list[tuple[PointPrompts, MaskCandidates]] = []
    propose = tracker.proposals

    def proposed(seen: TrackerFeatures, points: PointPrompts, **options: object) -> MaskCandidates:
        asked.append((points, propose(seen, points, **options)))  # type: ignore[arg-type]
        return asked[-1][1]

    monkeypatch.setattr(tracker, "proposals", proposed)
    return asked


def task(sheet: SpriteSheet, recipe: FollowRecipe = RECIPE) -> FollowTask:
    return FollowTask(recipe, build_model("test", seed=5), device=CPU, sheet=sheet)


def test_a_batch_is_the_clips_that_it_was_made_of(clip_maker: ClipBatchMaker) -> None:
    batch = clip_maker.clips(7, clips=3, frames=4, objects=2, size=84)
    count = len(batch.clip_idx)
    assert batch.pixels.shape == (4, 3, 3, 84, 84) and batch.pixels.abs().max() <= 1
    assert batch.masks.shape == (4, count, 48, 48) and batch.visible.shape == (4, count)
    assert batch.clip_idx.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.visible[0].all() and torch.equal(batch.visible, batch.masks.flatten(2).any(2))
    again = clip_maker.clips(7, clips=3, frames=4, objects=2, size=84)
    assert torch.equal(batch.pixels, again.pixels) and torch.equal(batch.boxes_xyxy_px, again.boxes_xyxy_px)
    for mask, box in zip(batch.masks[0], batch.boxes_xyxy_px, strict=True):
        rows, columns = mask.nonzero().T
        cell = 1.75
        tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * cell
        side = torch.tensor([tight[2] - tight[0], tight[3] - tight[1]]).repeat(2)
        # A hand is off by 15 % of a side at most, and half a cell of mask may be less than a whole one.
        assert ((box - tight).abs() <= 0.16 * (side + 2 * cell) + cell).all()


def test_an_object_can_be_asked_for_twice(clip_maker: ClipBatchMaker) -> None:
    once, twice = (clip_maker.clips(7, clips=2, frames=1, objects=2, size=84, repeats=count) for count in (1, 2))
    assert twice.clip_idx.tolist() == once.clip_idx.repeat_interleave(2).tolist()
    assert torch.equal(twice.pixels, once.pixels)
    first, second = twice.masks[:, ::2], twice.masks[:, 1::2]
    assert torch.equal(first, second) and first.shape == once.masks.shape
    assert (twice.boxes_xyxy_px[::2] != twice.boxes_xyxy_px[1::2]).any(1).all()  # drawn by another hand


def test_masks_of_a_batch_are_the_sprites_shrunk(sheet: SpriteSheet, clip_maker: ClipBatchMaker) -> None:
    batch = clip_maker.clips(2, clips=1, frames=3, objects=9, size=84)
    shown = [make_clip(TRAIN, 2000, (84, 84), 3, stride=stride, sheet=sheet)[0] for stride in (1, 2, 3)]
    (clip,) = [one for one in shown if np.array_equal(one.frames[2], _picture(batch.pixels[2, 0]))]
    for frame in range(3):
        found = {int(mask.sum()) for mask in batch.masks[frame]}
        assert found <= {int(_shrunk(clip.masks(idx)[frame]).sum()) for idx in range(len(clip.instances))}


def _picture(pixels: torch.Tensor) -> np.ndarray:
    return ((pixels.permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """Cells of 1.75 pixels of which at least half is covered; pixels on a border count for both sides."""
    edges = [(int(np.floor(cell * 1.75)), int(np.ceil((cell + 1) * 1.75))) for cell in range(48)]
    return np.array([[mask[top:bottom, left:right].mean() >= 0.5 for left, right in edges] for top, bottom in edges])


def test_every_part_of_the_tracker_learns_and_nothing_else(sheet: SpriteSheet, clip_maker: ClipBatchMaker) -> None:
    model = task(sheet).model
    assert {name.split(".")[0] for name, one in model.named_parameters() if one.requires_grad} == {"tracker"}
    reached = set()
    for seed in range(12):
        torch.manual_seed(seed)
        model.zero_grad()
        steps = replace(STEPS, frames=4, masks=0.4, boxes=0.3, later=0.5)
        loss, terms = follow_loss(model, clip_maker.clips(seed, clips=2, frames=4, objects=2, size=84), steps)
        loss.backward()
        weights = steps.weights
        parts = sum(getattr(weights, name) * float(term) for name, term in terms.items())
        assert float(loss.detach()) == pytest.approx(parts, rel=1e-5)
        reached |= {name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()}
    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    # The code of distances in time has a row for each of six frames; these clips are shorter, but its rows are one.
    assert reached == learning


def test_one_prompted_frame_is_judged_as_the_loss_says(sheet: SpriteSheet, clip_maker: ClipBatchMaker) -> None:
    """Boxes, no corrections, one frame: the loss by hand from the model's public steps."""
    model = task(sheet).model
    batch = clip_maker.clips(1, clips=2, frames=1, objects=2, size=84)
    steps = FollowSteps(clips=2, frames=1, objects=2, masks=0.0, boxes=1.0, corrections=0, later=0.0)
    loss, _ = follow_loss(model, batch, steps)
    features = model.encode_image(batch.pixels[0], tracker=True)
    losses = []
    for clip in range(2):
        own = batch.clip_idx == clip
        seen = model.tracker.features(features.select(clip).tracker_levels)
        boxes = PointPrompts.from_boxes(batch.boxes_xyxy_px[own])
        found = model.tracker.proposals(seen, boxes)
        judged = tracker_loss(
            found.mask_logits, found.quality, found.sight_logits, batch.masks[0, own], batch.visible[0, own]
        )
        losses.append(judged.total * int(own.sum()))
    assert float(loss.detach()) == pytest.approx(float(sum(losses).detach()) / len(batch.clip_idx), rel=1e-5)


def test_answers_to_prompts_count_as_much_as_what_is_followed(
    sheet: SpriteSheet, clip_maker: ClipBatchMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task(sheet).model
    assert model.tracker is not None
    batch = clip_maker.clips(1, clips=1, frames=4, objects=2, size=84)
    asked = asked_of(model.tracker, monkeypatch)
    loss, _ = follow_loss(model, batch, FollowSteps(masks=0.0, boxes=1.0, corrections=0, later=0.0))
    first, *rest = (
        float(tracker_loss(one.mask_logits, one.quality, one.sight_logits, masks, visible).total.detach())
        for (_, one), masks, visible in zip(asked, batch.masks, batch.visible, strict=True)
    )
    assert float(loss.detach()) == pytest.approx((first + sum(rest) / 3) / 2, rel=1e-5)


def test_masks_that_compete_are_judged_by_their_share_of_a_pixel_and_remembered_apart(
    sheet: SpriteSheet, clip_maker: ClipBatchMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task(sheet).model
    tracker = model.tracker
    assert tracker is not None
    torch.nn.init.constant_(tracker.mask_decoder.sight_head.layers[-1].bias, 9.0)  # type: ignore[union-attr]  # all seen
    batch = clip_maker.clips(3, clips=2, frames=2, objects=4, size=84, meeting=True)
    asked = asked_of(tracker, monkeypatch)
    remembered: list[torch.Tensor] = []
    enlarge = tracker.at_input_size

    def enlarged(seen: TrackerFeatures, logits: torch.Tensor) -> torch.Tensor:
        remembered.append(logits.detach())
        return enlarge(seen, logits)

    monkeypatch.setattr(tracker, "at_input_size", enlarged)
    steps = FollowSteps(masks=1.0, later=0.0, competing=1.0)
    loss, _ = follow_loss(model, batch, steps)

    ((_, answer),) = asked
    chosen = tracker.chosen(answer).mask_logits.double()
    share = answer.mask_logits.double().clone()
    cut = chosen.clone()
    pairs = 0
    for one in range(len(chosen)):
        total = torch.ones_like(chosen[one])
        for other in range(len(chosen)):
            if batch.clip_idx[one] == batch.clip_idx[other] and batch.instance_idx[one] != batch.instance_idx[other]:
                total += chosen[other].exp()
                lost = chosen[other] > chosen[one]
                cut[one][lost] = cut[one][lost].clamp(max=-10.0)
                pairs += int((lost & (chosen[one] > -10.0)).any())
        share[one] -= total.log()
    assert pairs > 0
    judged = tracker_loss(
        share.float(), answer.quality, answer.sight_logits, batch.masks[1], batch.visible[1], steps.weights
    )
    assert float(loss.detach()) == pytest.approx(float(judged.total.detach()), rel=1e-5)
    assert torch.equal(remembered[1].double(), cut)


def test_objects_of_a_batch_can_be_such_that_meet(clip_maker: ClipBatchMaker) -> None:
    def meets(seed: int, *, meeting: bool) -> bool:
        batch = clip_maker.clips(seed, clips=1, frames=4, objects=9, size=112, meeting=meeting)
        wide = torch.nn.functional.max_pool2d(
            batch.masks.float(), 5, stride=1, padding=2
        )  # a small part may round away
        shared = torch.einsum("fohw,fphw->op", wide, wide) > 0
        return bool((shared & (batch.instance_idx[:, None] != batch.instance_idx)).any())

    assert all(meets(seed, meeting=True) for seed in range(8))
    assert not all(meets(seed, meeting=False) for seed in range(8))


def test_what_strays_is_remembered_as_another_object_of_its_clip(
    sheet: SpriteSheet, clip_maker: ClipBatchMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task(sheet).model
    assert model.tracker is not None
    batch = clip_maker.clips(3, clips=2, frames=6, objects=3, size=84)
    encoded: list[torch.Tensor] = []
    encode = model.tracker.encode_memory

    def watched(seen: TrackerFeatures, logits: torch.Tensor, sight: torch.Tensor, *, binary: bool) -> torch.Tensor:
        encoded.append(sight.detach())
        return encode(seen, logits, sight, binary=binary)

    monkeypatch.setattr(model.tracker, "encode_memory", watched)
    asked = asked_of(model.tracker, monkeypatch)
    torch.manual_seed(0)
    follow_loss(model, batch, FollowSteps(masks=1.0, later=0.0, strayed=1.0))
    assert (len(asked), len(encoded)) == (5, 6)
    own = [answer.sight_logits for _, answer in asked]
    swapped = torch.stack([one != other for one, other in zip(own, encoded[1:], strict=True)])  # (F - 1, O)
    rivals = (batch.clip_idx[:, None] == batch.clip_idx) & (batch.instance_idx[:, None] != batch.instance_idx)
    assert rivals.any()
    assert torch.equal(swapped.any(0), rivals.any(1))
    assert swapped.sum(0).max() <= 3
    for sight, kept in zip(own, encoded[1:], strict=True):
        as_another = (kept[:, None] == sight) & rivals
        assert (as_another.any(1) | (kept == sight)).all()
    encoded.clear()
    asked.clear()
    follow_loss(model, batch, FollowSteps(masks=1.0, later=0.0))
    assert all(torch.equal(one.sight_logits, kept) for (_, one), kept in zip(asked, encoded[1:], strict=True))


def test_a_narrowed_pyramid_is_the_wide_one_seen_through_its_projections() -> None:
    torch.manual_seed(0)
    neck, narrow = Neck(in_width=12, width=8), (torch.nn.Conv2d(8, 3, 1), torch.nn.Conv2d(8, 2, 1), None)
    x = torch.randn(2, 12, 5, 4)
    wide = neck(x)
    for level, through, got in zip(wide, narrow, neck(x, narrow), strict=True):
        # Two sums of products in another order.
        torch.testing.assert_close(got, level if through is None else through(level), rtol=1e-5, atol=1e-6)


def test_a_run_that_was_cut_ends_like_one_that_was_not(tmp_path: Path, sheet: SpriteSheet) -> None:
    whole = Loop(task(sheet), tmp_path / "whole", device=CPU, workers=0)
    assert whole.run()
    done = False
    for _ in range(RECIPE.steps):
        cut = Loop(task(sheet), tmp_path / "cut", device=CPU, workers=0)
        done = cut.run(seconds=0.0)
    assert done and all(torch.equal(cut.averages[name], value) for name, value in whole.averages.items())
    loaded, base = load_model(tmp_path / "whole" / "weights.safetensors", dtype="float32"), build_model("test", seed=5)
    last, learned = whole.task.finished({}).state_dict(), 0
    for name, value in loaded.state_dict().items():
        if name.startswith(("tracker.", "tracker_neck.")):
            learned += not torch.allclose(value, last[name], atol=1e-6)
        else:
            assert torch.equal(value, base.state_dict()[name].half().float()), name
    assert learned > 20, "averages of the tracker are what is written"


def test_the_neck_is_the_detectors_with_unit_variance(sheet: SpriteSheet) -> None:
    base = build_model("test", seed=5)
    model = task(sheet).model
    assert model.tracker_neck is not None
    trunk = model.vision_encoder(torch.rand(2, 3, 84, 84) * 2 - 1)
    for wanted, level in zip(base.neck(trunk), model.tracker_neck(trunk), strict=True):
        factor = (wanted * level).sum() / (level * level).sum()
        torch.testing.assert_close(wanted, factor * level)
        # Other pictures than those it was measured on.
        assert 0.4 < level.std() < 2.5


def test_a_frame_begins_by_reading_memory_where_it_looks_alike(sheet: SpriteSheet) -> None:
    tracker = task(sheet).model.tracker
    assert tracker is not None
    frame = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(0))

    def remembered(coarse: torch.Tensor) -> torch.Tensor:
        features = TrackerFeatures(fine=coarse, middle=coarse, coarse=coarse)
        return tracker.encode_memory(features, torch.zeros(1, 84, 84), torch.ones(1), binary=True)

    places, seen = frame.flatten(2).transpose(1, 2), remembered(frame) - remembered(torch.zeros_like(frame))
    for layer in tracker.memory_attention.layers:
        attention = layer.memory_attention
        scores = attention.q(places) @ (seen @ attention.k.weight.T).transpose(1, 2)
        # By the lengths of what both come to, none is nearer than the place itself.
        nearness = scores[0] / (scores[0].diagonal()[:, None] * scores[0].diagonal()).sqrt()
        assert (scores[0].diagonal() > 0).all() and nearness.max() < 1 + 1e-4


def test_a_detector_of_another_size_is_refused(sheet: SpriteSheet) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        FollowTask(DEFAULT_TRACKER_RECIPE, build_model("test", seed=0), device=CPU, sheet=sheet)


def test_processes_share_the_parts_of_a_step(sheet: SpriteSheet) -> None:
    alone, step = task(sheet), 3
    parts = alone.batches()[step]
    assert len(parts) == RECIPE.parts == 2 and not torch.equal(parts[0].pixels, parts[1].pixels)
    for rank, part in enumerate(parts):
        processes = Processes(rank=rank, world_size=2)
        one = FollowTask(RECIPE, build_model("test", seed=5), device=CPU, sheet=sheet, processes=processes)
        (own,) = one.batches()[step]
        assert torch.equal(own.pixels, part.pixels) and torch.equal(own.boxes_xyxy_px, part.boxes_xyxy_px)
        # What a user does there does not depend on what the process did before.
        torch.manual_seed(rank)
        losses = [one.loss(own, step)[0], alone.loss(part, step)[0]]
        assert torch.equal(*losses)


def test_the_parts_of_a_step_have_as_much_work(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes wait for the one that has most: prompts differ, but not how many of which kind there are."""
    steps = replace(STEPS, frames=3, masks=0.3, boxes=0.3, corrections=3, later=0.5)
    stage = replace(RECIPE.stages[0], steps=8, follow=steps)
    alone = task(sheet, replace(RECIPE, stages=(stage,)))
    tracker = alone.model.tracker
    assert tracker is not None
    asked = asked_of(tracker, monkeypatch)
    amounts = set()
    for step in range(8):
        seen = []
        for part in alone.batches()[step]:
            asked.clear()
            alone.loss(part, step)
            seen.append(tuple(points.labels.shape for points, _ in asked))
        assert seen[0] == seen[1]
        amounts.add(seen[0])
    assert len(amounts) > 3


def test_parts_that_cannot_be_shared_are_refused(sheet: SpriteSheet) -> None:
    with pytest.raises(ConfigError, match="2 parts of a step cannot be shared by 3 processes"):
        FollowTask(RECIPE, build_model("test"), device=CPU, sheet=sheet, processes=Processes(rank=0, world_size=3))
