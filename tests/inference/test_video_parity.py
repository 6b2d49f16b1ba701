"""Concepts followed through a video as the public `transformers` implementation does it, by its rules.

Whole runs of both, detector and tracker included (spec/video.md 12 and 15.5), each left to itself. The two policies
name what differs between transformers and the original; of each field it is shown that it alone decides: with it as in
transformers the run is that of transformers, with it as in the original it is not.

Where masklets begin among others a run left to itself does not stay equal: there transformers remembers all of them by
binary masks (`TrackerPolicy.binary_beside_prompts`), and one pixel within rounding of 0 changes what every later frame
reads. Such a run is compared frame by frame, memory included, and after each frame ours is given what the oracle
remembers (spec/tracker.md 15.3).

Runs left to themselves are of one thread: how products are cut among threads rounds otherwise, and what drift does to
the edges of masks (`video_runs.NEAR_THE_EDGE`) was looked at for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from masklet.inference.bucket import Bucket
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.ops.resize import resized
from tracker_oracle import VIDEO_LIMITS, Record, beyond, step_differences, worst
from video_models import CONFIG
from video_runs import RUNS, SIDE, Ours, Remembered, Run, differences, frame_differences, oracle, passed

BIRTHS_AMONG_OTHERS = Run("present", 7, True, 0.5, 0.6, recondition=(2, 0.4, 0.02))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", list(RUNS))
def test_identities_masks_and_scores(name: str) -> None:
    assert list(differences(RUNS[name])) == []


@pytest.mark.parametrize("name", list(RUNS))
def test_what_the_runs_hold(name: str) -> None:
    frames = oracle(RUNS[name]).values()
    assert len({object_id for frame in frames for object_id in frame.masks}) >= 3
    assert sum(int((mask > 0).any()) for frame in frames for mask in frame.masks.values()) > 5


# --- each difference alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("many", {"detection_iou": 0.1}),
        ("many", {"clean_area": 16}),
        ("many", {"births_upsampled": True}),
        ("set right", {"recondition_bucket": True}),
        ("set right", {"recondition_shown": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_each_difference_alone(name: str, rule: Mapping[str, Any]) -> None:
    """Without the rule of the original this run is that of transformers (`test_identities_masks_and_scores`)."""
    assert next(differences(RUNS[name], **rule), None) is not None


def test_which_frames_the_tracker_reads() -> None:
    """`memory_selection`."""
    bank = TrackerPolicy.as_transformers(CONFIG.tracker).bank
    run = RUNS["lost and suppressed"]
    assert next(differences(run, {"bank": replace(bank, select=True)}), None) is not None


def test_births_that_cut_each_other() -> None:
    """In one bucket, as the original has them; apart from that a bucket changes nothing."""
    run, bucket = RUNS["many"], {"shared_buckets": True}
    assert list(differences(run, bucket)) == []
    assert next(differences(run, bucket, births_cut=True), None) is not None


# --- births among others ----------------------------------------------------------------------------------------------


def test_births_among_others_one_frame_at_a_time() -> None:
    """Masks, pointers, sight and memory maps; these less where a pixel near 0 is another in the binary mask."""
    frames, found = [], []
    for ours, differ in fed_frames():
        frames.append(ours.frame)
        found += differ
    assert not beyond(worst(found), VIDEO_LIMITS)
    assert sum("maps" not in each for each in found) <= len(found) // 50  # seen: 1 of 214
    assert sum(0 < len(frame.born_ids) < len(frame.held.value) for frame in frames) > 5
    assert sum(bool(frame.corrected_ids) for frame in frames) > 5


def test_births_rewrite_the_memory_of_others() -> None:
    """`binary_beside_prompts`: with it as in the original their maps differ, and nothing else does."""
    found = [each for _, differ in fed_frames({"binary_beside_prompts": False}) for each in differ]
    assert set(beyond(worst(found), VIDEO_LIMITS)) == {"maps"}


def fed_frames(tracker_rules: Mapping[str, Any] | None = None) -> Iterator[tuple[Ours, list[dict[str, float]]]]:
    """Each frame of ours, and for each masklet how what is remembered differs, "maps" left out where a pixel does.

    Afterwards ours is given what the oracle remembers, so that the next frame reads the same.
    """
    expected = oracle(BIRTHS_AMONG_OTHERS)
    for frame_idx, ours in passed(BIRTHS_AMONG_OTHERS, tracker_rules):
        assert list(frame_differences(ours, expected[frame_idx])) == [], f"frame {frame_idx}"
        buckets, differ = [], []
        for bucket in ours.session.buckets:
            (object_id,) = bucket.object_ids
            theirs = expected[frame_idx].remembered[object_id]
            assert frame_idx in getattr(bucket, theirs.kind), f"object {object_id}, frame {frame_idx}: {theirs.kind}"
            own = own_record(bucket, frame_idx)
            differ.append(step_differences(own, theirs.record))
            if ours.frame.born_ids and not torch.equal(binary(own.mask), binary(theirs.record.mask)):
                del differ[-1]["maps"]
            buckets.append(fed(bucket, frame_idx, theirs))
        yield ours, differ
        ours.session.restore(buckets, ours.session.object_ids)


def own_record(bucket: Bucket, frame_idx: int) -> Record:
    """What ours remembers of a bucket of one."""
    record = bucket.record(frame_idx)
    masks = record.masks
    return Record(masks.mask_logits[0], masks.pointers[0], masks.sight_logits[0], record.map_tokens[0])


def fed(bucket: Bucket, frame_idx: int, theirs: Remembered) -> Bucket:
    """The bucket of one with what the oracle remembers."""
    mine, record = bucket.record(frame_idx), theirs.record
    masks = replace(mine.masks, mask_logits=record.mask[None], pointers=record.pointer[None])
    told = replace(mine, masks=masks, map_tokens=record.map_tokens[None])
    return replace(bucket, **{theirs.kind: {**getattr(bucket, theirs.kind), frame_idx: told}})


def binary(mask_logits: Tensor) -> Tensor:
    """(4h, 4w) as it is made binary: at the size that the memory encoder reads."""
    return resized(resized(mask_logits[None], (SIDE, SIDE)), (16 * CONFIG.vision.grid, 16 * CONFIG.vision.grid)) > 0
