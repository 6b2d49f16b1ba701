"""What the tracker does that no other implementation shows; numbers are compared in test_tracker_parity.py."""

from dataclasses import replace

import pytest
import torch

from masklet.config import SAM3, TEST
from masklet.model.build import build_model, build_tracker
from masklet.model.mask_decoder import _stable_or_best
from masklet.model.memory_bank import BankRules, Remembered, read, recall
from masklet.model.tracker import OUT_OF_SIGHT
from masklet.ops.resize import resized
from masklet.types import Memory, MemoryEntry, PointPrompts

GRID, WIDTH, MEMORY_WIDTH = TEST.vision.grid, TEST.width, 4
SIDE = TEST.vision.image_size


@pytest.fixture(scope="module")
def tracker():
    tracker = build_model("test", seed=4).tracker
    with torch.no_grad():
        tracker.memory_encoder.fuser[0].scale.fill_(0.5)
        tracker.mask_decoder.sight_head.layers[-1].bias.fill_(30.0)
    return tracker.requires_grad_(False)


@pytest.fixture(scope="module")
def features(tracker):
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, WIDTH, scale * GRID, scale * GRID, generator=generator) for scale in (4, 2, 1)]
    return tracker.features(tuple(levels))


def memory(objects, maps=3, pointers=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return Memory(
        map_tokens=tuple(torch.randn(objects, GRID**2, MEMORY_WIDTH, generator=generator) for _ in range(maps)),
        rows=torch.tensor([6, 0, 1])[:maps],
        pointers=torch.randn(objects, pointers, WIDTH, generator=generator),
        offsets=torch.tensor([9.0, 1.0])[:pointers],
        horizon=16,
    )


def clicks(objects, count=2, seed=2):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (objects, count), generator=generator)
    return PointPrompts(xy_px=torch.rand(objects, count, 2, generator=generator) * SIDE, labels=labels)


def part_of(value, row):
    """One masklet of what belongs to several."""
    if isinstance(value, torch.Tensor):
        return value[row : row + 1]
    if isinstance(value, Memory):
        maps = tuple(part_of(each, row) for each in value.map_tokens)
        return replace(value, map_tokens=maps, pointers=part_of(value.pointers, row))
    return replace(value, **{name: part_of(each, row) for name, each in vars(value).items()})


def assert_alike(found, expected):
    for name, each in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), each, rtol=2e-5, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_masklets_do_not_see_each_other(tracker, features):
    """Three in one go equal each alone: clicked, clicked with memory, tracked, given as masks."""
    masks = (torch.rand(3, 16 * GRID, 16 * GRID, generator=torch.Generator().manual_seed(3)) > 0.7).float()
    together = (
        tracker.prompt(features, clicks(3)),
        tracker.prompt(features, clicks(3), memory=memory(3)),
        tracker.track(features, memory(3)),
        tracker.prompt_mask(features, masks),
    )
    for row in range(3):
        alone = (
            tracker.prompt(features, part_of(clicks(3), row)),
            tracker.prompt(features, part_of(clicks(3), row), memory=part_of(memory(3), row)),
            tracker.track(features, part_of(memory(3), row)),
            tracker.prompt_mask(features, masks[row : row + 1]),
        )
        for whole, one in zip(together, alone, strict=True):
            assert_alike(one, part_of(whole, row))
    maps = tracker.encode_memory(features, together[0].mask_logits, torch.tensor([1.0, -1.0, 0.0]), binary=False)
    for row, sight in enumerate((1.0, -1.0, 0.0)):
        logits = together[0].mask_logits[row : row + 1]
        alone = tracker.encode_memory(features, logits, torch.tensor([sight]), binary=False)
        torch.testing.assert_close(maps[row : row + 1], alone, rtol=2e-5, atol=2e-5)


def test_frames_of_their_own(tracker, features):
    """A frame for each masklet gives what one frame for all does, if they are the same."""
    own = replace(features, **{name: level.repeat(3, 1, 1, 1) for name, level in vars(features).items()})
    assert_alike(tracker.prompt(own, clicks(3)), tracker.prompt(features, clicks(3)))
    assert_alike(tracker.track(own, memory(3)), tracker.track(features, memory(3)))


def test_distances_of_each_masklet(tracker, features):
    """Rows and offsets may differ between masklets."""
    shared = memory(2)
    rows = torch.stack((shared.rows, shared.rows.flip(0)))
    offsets = torch.stack((shared.offsets, shared.offsets + 3))
    found = tracker.track(features, replace(shared, rows=rows, offsets=offsets))
    for row in range(2):
        one = replace(part_of(shared, row), rows=rows[row], offsets=offsets[row])
        assert_alike(part_of(found, row), tracker.track(features, one))
    changed = tracker.track(features, shared)
    assert not torch.allclose(changed.mask_logits[1], found.mask_logits[1], atol=1e-3)


def test_order_of_maps_and_pointers_does_not_matter(tracker, features):
    given = memory(1)
    turned = replace(
        given,
        map_tokens=given.map_tokens[::-1],
        rows=given.rows.flip(0),
        pointers=given.pointers.flip(1),
        offsets=given.offsets.flip(0),
    )
    assert_alike(tracker.track(features, turned), tracker.track(features, given))


def test_memory_without_pointers(tracker, features):
    found = tracker.track(features, memory(2, pointers=0))
    assert found.mask_logits.shape == (2, 4 * GRID, 4 * GRID)
    assert found.mask_logits.isfinite().all()


def test_no_masklets_at_all(tracker, features):
    found = tracker.prompt(features, clicks(0))
    assert len(found) == 0 and found.mask_logits.shape == (0, 4 * GRID, 4 * GRID)
    assert len(tracker.track(features, memory(0))) == 0
    given = tracker.prompt_mask(features, torch.zeros(0, 16 * GRID, 16 * GRID))
    assert given.mask_logits.shape == found.mask_logits.shape
    maps = tracker.encode_memory(features, found.mask_logits, found.sight_logits, binary=True)
    assert maps.shape == (0, GRID**2, MEMORY_WIDTH)
    assert tracker.at_input_size(features, found.mask_logits).shape == (0, SIDE, SIDE)


def test_one_point_is_ambiguous_and_two_are_not(tracker, features):
    """The best candidate of three for a single click; the single mask, or what stands in for it, for more."""
    for count, ambiguous in ((1, True), (2, False), (3, False)):
        points = clicks(2, count)
        candidates = tracker.candidates(features, points, ambiguous=ambiguous)
        assert candidates.quality.shape == (2, 3 if ambiguous else 1)
        found = tracker.prompt(features, points)
        best = candidates.quality.argmax(1)
        assert torch.equal(found.quality, candidates.quality[range(2), best])
        assert torch.equal(found.mask_logits, candidates.mask_logits[range(2), best])
        pointers = tracker.pointer_head(candidates.tokens[range(2), best])
        torch.testing.assert_close(found.pointers, pointers)
    box = PointPrompts.from_boxes(torch.tensor([[10.0, 12.0, 40.0, 60.0]]))
    single = tracker.candidates(features, box, ambiguous=False)
    torch.testing.assert_close(tracker.prompt(features, box).mask_logits, single.mask_logits[:, 0])


def test_a_picture_with_a_mask_alone_has_no_points(tracker, features):
    """No prompt token at all, unlike one point that is none (which becomes two tokens)."""
    mask = torch.randn(1, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(5))
    without = tracker.candidates(features, None, mask_logits=mask, ambiguous=True)
    with_none = tracker.candidates(features, PointPrompts.none(1), mask_logits=mask, ambiguous=True)
    assert without.mask_logits.shape == with_none.mask_logits.shape
    assert not torch.allclose(without.mask_logits, with_none.mask_logits, atol=1e-3)


def test_one_mask_serves_several_boxes(tracker, features):
    boxes = PointPrompts.from_boxes(torch.tensor([[10.0, 12.0, 40.0, 60.0], [3.0, 8.0, 70.0, 30.0]]))
    mask = torch.randn(1, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(5))
    found = tracker.candidates(features, boxes, mask_logits=mask, ambiguous=False)
    repeated = tracker.candidates(features, boxes, mask_logits=mask.repeat(2, 1, 1), ambiguous=False)
    assert_alike(found, repeated)


def test_an_object_out_of_sight(tracker, features):
    """Hidden where the logit of sight is not positive, 0 included."""
    head = tracker.mask_decoder.sight_head.layers[-1]
    kept = head.weight.clone(), head.bias.clone()
    try:
        for logit, seen in ((0.0, False), (-1.0, False), (1e-6, True)):
            with torch.no_grad():
                head.weight.zero_()
                head.bias.fill_(logit)
            found = tracker.prompt(features, clicks(2))
            assert torch.equal((found.mask_logits == OUT_OF_SIGHT).all((1, 2)), torch.tensor([not seen] * 2))
            is_none = (found.pointers == tracker.no_pointer.weight).all(1)
            assert torch.equal(is_none, torch.tensor([not seen] * 2))
            candidates = tracker.candidates(features, clicks(2), ambiguous=True)
            assert (candidates.mask_logits != OUT_OF_SIGHT).all()  # a picture is not asked for sight
    finally:
        with torch.no_grad():
            head.weight.copy_(kept[0])
            head.bias.copy_(kept[1])


def test_a_mask_that_is_given(tracker, features):
    """It comes back as logits of plus and minus 10 at the size of the pyramid; an empty one belongs to nothing."""
    masks = torch.zeros(3, 16 * GRID, 16 * GRID)
    masks[0, 20:60, 30:70] = 1
    masks[1, 40, 40] = 0.25  # hardly there, but there
    found = tracker.prompt_mask(features, masks)
    assert found.sight_logits.tolist() == [10, 10, -10]
    assert found.quality.tolist() == [1, 1, 1]
    assert found.mask_logits.shape == (3, 4 * GRID, 4 * GRID)
    expected = resized(masks * 20 - 10, (4 * GRID, 4 * GRID))
    torch.testing.assert_close(found.mask_logits, expected)
    assert found.mask_logits.flatten(1).amax(1)[[0, 2]].tolist() == pytest.approx([10, -10], abs=1e-5)
    assert torch.equal(found.pointers[2:], tracker.no_pointer.weight)
    assert not torch.allclose(found.pointers[1:2], tracker.no_pointer.weight)


def test_the_pointer_of_a_given_mask(tracker, features):
    """Made from the single-mask token, on the neck's own map, with the mask a sixteenth as large as prompt."""
    mask = (torch.rand(1, 16 * GRID, 16 * GRID, generator=torch.Generator().manual_seed(6)) > 0.5).float()
    encoder = tracker.prompt_encoder
    prompt = tracker.mask_downsample(mask[:, None])[:, 0]
    assert prompt.shape == (1, 4 * GRID, 4 * GRID)
    decoded = tracker.mask_decoder(
        features,
        features.coarse + encoder.mask(prompt, (GRID, GRID)),
        encoder.position((GRID, GRID)),
        encoder.points(PointPrompts.none(1), (SIDE, SIDE)),
        ambiguous=False,
    )
    expected = tracker.pointer_head(decoded.tokens[:, 0])
    torch.testing.assert_close(tracker.prompt_mask(features, mask).pointers, expected)
    assert not torch.allclose(tracker.prompt_mask(features, mask, ambiguous=True).pointers, expected, atol=1e-3)


def test_masks_are_made_binary_before_they_are_resized(tracker, features):
    """Meta's order; at 16 times the grid's size both orders agree (spec/tracker.md section 5)."""
    logits = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(7)) * 3
    sight = torch.ones(1)
    large = (16 * GRID, 16 * GRID)
    for binary in (True, False):
        shares = (logits > 0).float() if binary else logits.sigmoid()
        found = tracker.encode_memory(features, logits, sight, binary=binary)
        # Logits whose probabilities are the resized shares; certain pixels are kept finite.
        same = tracker.encode_memory(
            features, torch.special.logit(resized(shares, large), eps=1e-7), sight, binary=False
        )
        torch.testing.assert_close(found, same, rtol=1e-4, atol=1e-4)
        other = tracker.encode_memory(features, resized(logits, large), sight, binary=binary)
        assert float((found - other).abs().max() / other.abs().max()) > 1e-3


def test_memory_of_what_is_out_of_sight(tracker, features):
    """One vector more in every cell, at 0 too."""
    logits = torch.randn(3, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(8))[:1].repeat(3, 1, 1)
    maps = tracker.encode_memory(features, logits, torch.tensor([1e-6, 0.0, -5.0]), binary=False)
    extra = (maps[1:] - maps[0]).flatten(0, 1)
    torch.testing.assert_close(extra, tracker.memory_encoder.out_of_sight.weight.expand_as(extra))


@pytest.mark.parametrize(
    ("single", "kept"),
    [
        ([1.0] * 49 + [0.0], True),  # 49 of 50 is 0.98
        ([1.0] * 48 + [-0.05, -0.05], True),  # 48 of 48, for -0.05 is not above the lower edge
        ([1.0] * 48 + [0.05, 0.0], False),  # 48 of 50: 0.05 is not above the upper edge
        ([1.0] * 50, True),
        ([-1.0] * 50, True),  # nothing there: stable
        ([0.0] + [-1.0] * 49, False),
    ],
)
def test_a_single_mask_must_be_stable(single, kept):
    others = [[k + 2.0] * 50 for k in range(3)]
    masks = torch.tensor([single, *others])[None, :, None]  # (1, 4, 1, 50)
    quality = torch.tensor([[0.99, 0.2, 0.7, 0.3]])
    mask, score = _stable_or_best(masks, quality)
    assert mask.shape == (1, 1, 1, 50) and score.shape == (1, 1)
    expected = masks[:, 0] if kept else masks[:, 2]
    assert torch.equal(mask[:, 0], expected)
    assert score.item() == pytest.approx(0.99 if kept else 0.7)


def test_labels_that_are_no_points(tracker):
    """A point that is none has no place; a padding point stands behind every prompt."""
    encoder = tracker.prompt_encoder
    somewhere = PointPrompts(xy_px=torch.tensor([[[5.0, 70.0], [9.0, 1.0]]]), labels=torch.tensor([[-1, 1]]))
    tokens = encoder.points(somewhere, (SIDE, SIDE))
    assert tokens.shape == (1, 3, WIDTH)
    nothing = encoder.no_point.weight[0]
    assert torch.equal(tokens[0, 0], nothing) and torch.equal(tokens[0, 2], nothing)
    assert not torch.equal(tokens[0, 1], nothing)


def test_places_of_another_input_shape(tracker):
    """x by the width, y by the height, half a pixel added; the same code as that of the grid's cells."""
    encoder = tracker.prompt_encoder
    height, width = 3, 5
    centres = torch.tensor([[[14 * x + 6.5, 14 * y + 6.5] for y in range(height) for x in range(width)]])
    points = PointPrompts(xy_px=centres, labels=torch.ones(1, height * width, dtype=torch.int64))
    tokens = encoder.points(points, (14 * height, 14 * width))[0, :-1] - encoder.label_embedding.weight[1]
    torch.testing.assert_close(tokens, encoder.position((height, width)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_stays_near(dtype):
    model = build_model("test", seed=4).tracker.requires_grad_(False)
    low = build_model("test", seed=4).tracker.to(dtype).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, WIDTH, scale * GRID, scale * GRID, generator=generator) for scale in (4, 2, 1)]
    found, expected = [], []
    for tracker, results in ((low, found), (model, expected)):
        features = tracker.features(tuple(level.to(tracker.no_memory.weight.dtype) for level in levels))
        clicked = tracker.prompt(features, clicks(2))
        maps = tracker.encode_memory(features, clicked.mask_logits, clicked.sight_logits, binary=True)
        results += [clicked.sight_logits, maps, tracker.track(features, memory(2)).sight_logits]
        results.append(tracker.candidates(features, clicks(2), ambiguous=True).mask_logits)
    for low_one, one in zip(found, expected, strict=True):
        assert (low_one.float() - one).abs().max() <= 0.1 * one.abs().max()


def test_from_pixels_to_memory_and_on():
    """A click on one frame, followed on the next: the parts of the detector fit the tracker."""
    model = build_model("test", seed=4)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        frames = [model.tracker.features(one.tracker_levels) for one in model.encode_image(pixels, tracker=True)]
        clicked = model.tracker.prompt(frames[0], clicks(2))
        masks = model.tracker.at_input_size(frames[0], clicked.mask_logits)
        maps = model.tracker.encode_memory(frames[0], masks, clicked.sight_logits, binary=True)
        entries = {0: MemoryEntry(map_tokens=maps, pointers=clicked.pointers)}
        recalled = recall(1, Remembered(prompted=[0], tracked={}, frames=2), BankRules.of(TEST.tracker, select=True))
        followed = model.tracker.track(frames[1], read(recalled, entries))
    assert masks.shape == (2, SIDE, SIDE)
    assert followed.mask_logits.shape == (2, 4 * GRID, 4 * GRID) and followed.pointers.shape == (2, WIDTH)


def test_the_same_detector_comes_of_a_seed_without_a_tracker():
    with_tracker, without = build_model("test", seed=4), build_model(replace(TEST, tracker=None), seed=4)
    both = with_tracker.state_dict()
    assert all(torch.equal(both[name], tensor) for name, tensor in without.state_dict().items())
    drawn = {name for name, one in with_tracker.tracker.named_parameters() if not one.any() and "bias" not in name}
    assert not drawn


def test_shapes_of_the_public_model():
    """Those of spec/tracker.md 12.2, with the largest memory, without numbers."""
    with torch.device("meta"):
        tracker = build_tracker(SAM3.tracker, SAM3.width, SAM3.vision.patch_size)
        features = tracker.features(tuple(torch.empty(1, 256, size, size) for size in (288, 144, 72)))
        assert features.fine.shape == (1, 32, 288, 288) and features.middle.shape == (1, 64, 144, 144)
        memory = Memory(
            map_tokens=(torch.empty(3, 5184, 64),) * 10,
            rows=torch.empty(10, dtype=torch.int64),
            pointers=torch.empty(3, 19, 256),
            offsets=torch.empty(19),
            horizon=16,
        )
        found = tracker.track(features, memory)
        maps = tracker.encode_memory(features, torch.empty(3, 1008, 1008), torch.empty(3), binary=True)
        given = tracker.prompt_mask(features, torch.empty(3, 1152, 1152))
    assert found.mask_logits.shape == given.mask_logits.shape == (3, 288, 288)
    assert found.pointers.shape == given.pointers.shape == (3, 256)
    assert maps.shape == (3, 5184, 64)


def test_gradients_reach_every_parameter():
    """Clicking, tracking and giving masks together train all but the frequencies, which are fixed."""
    tracker = build_model("test", seed=4).tracker
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, WIDTH, scale * GRID, scale * GRID, generator=generator) for scale in (4, 2, 1)]
    features = tracker.features(tuple(levels))
    masks = torch.randn(2, 16 * GRID, 16 * GRID, generator=generator).sigmoid()
    logits = torch.randn(2, 4 * GRID, 4 * GRID, generator=generator)
    corners = PointPrompts(xy_px=torch.rand(2, 4, 2) * SIDE, labels=torch.tensor([[0, 1, 2, 3]] * 2))
    with torch.no_grad():  # a single mask that is stable, or another would stand in for it
        tracker.mask_decoder.mask_heads[0].layers[-1].weight.mul_(1e4)
    total = torch.zeros(())
    for ambiguous in (True, False):
        found = tracker.candidates(features, corners, mask_logits=logits, ambiguous=ambiguous)
        total = total + sum((part**2).sum() for part in vars(found).values())
    for sight in (5.0, -5.0):
        with torch.no_grad():
            tracker.mask_decoder.sight_head.layers[-1].bias.fill_(sight)
        remembered = memory(2)
        maps = tracker.encode_memory(features, logits, torch.tensor([1.0, -1.0]), binary=False)
        found = tracker.track(features, replace(remembered, map_tokens=(maps,), rows=torch.arange(7)[:1]))
        total = total + found.pointers.sum() + tracker.prompt_mask(features, masks).pointers.sum()
    total.backward()
    silent = {name for name, each in tracker.named_parameters() if each.grad is None or not each.grad.any()}
    assert silent == {"prompt_encoder.frequencies"}
