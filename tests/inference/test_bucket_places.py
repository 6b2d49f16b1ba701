"""The bucket of an object, and the one in which it is prompted; no network."""

from __future__ import annotations

import pytest
import torch

from masklet.errors import InputError
from masklet.inference.bucket import Bucket, FrameRecord
from masklet.inference.bucket_places import place_of, places_on, with_home
from masklet.types import MaskletMasks


def bucket(*object_ids: int, prompted: tuple[int, ...] = (), tracked: tuple[int, ...] = ()) -> Bucket:
    """Objects of which these frames are remembered; the mask of object 7 is all 7."""
    ids = torch.tensor(object_ids, dtype=torch.float32)
    logits = ids[:, None, None].expand(-1, 2, 3)
    masks = MaskletMasks(mask_logits=logits, quality=ids, sight_logits=ids, pointers=ids[:, None])
    record = FrameRecord(masks=masks, map_tokens=None, score=0.0)
    return Bucket(
        object_ids=object_ids, prompted=dict.fromkeys(prompted, record), tracked=dict.fromkeys(tracked, record)
    )


FOLLOWED, OPEN = bucket(4, 7, prompted=(0,), tracked=(1,)), bucket(5)


def test_places() -> None:
    buckets = [FOLLOWED, OPEN]
    assert [place_of(buckets, object_id) for object_id in (4, 7, 5)] == [0, 0, 1]
    assert places_on(buckets, 1, [7, 4]) == [0]
    assert places_on(buckets, 1, []) == []
    with pytest.raises(InputError, match=r"one of those that are followed \[4, 5, 7\], got 6"):
        place_of(buckets, 6)
    with pytest.raises(InputError, match=r"nothing is remembered of frame 1 for objects \[5\]"):
        places_on(buckets, 1, [4, 5])


@pytest.mark.parametrize(
    ("object_id", "frame_idx", "shared", "place", "ids"),
    [
        (4, 0, True, 0, [(4, 7), (5,)]),  # its own remembers the frame
        (4, 1, True, 0, [(4, 7), (5,)]),
        (5, 9, True, 1, [(4, 7), (5,)]),  # alone in its own
        (4, 9, True, 2, [(7,), (5,), (4,)]),  # leaves the other
        (6, 9, True, 1, [(4, 7), (5,)]),  # joins one that is open
        (6, 9, False, 2, [(4, 7), (5,), ()]),
    ],
)
def test_where_an_object_is_prompted(
    object_id: int, frame_idx: int, shared: bool, place: int, ids: list[tuple[int, ...]]
) -> None:
    before = [FOLLOWED, OPEN]
    buckets, found = with_home(before, object_id, frame_idx, shared=shared)
    assert (found, [one.object_ids for one in buckets]) == (place, ids)
    assert before == [FOLLOWED, OPEN]


def test_who_leaves_takes_along_what_is_remembered() -> None:
    (others, own), _ = with_home([FOLLOWED], 4, 9, shared=True)
    for one, object_id in ((others, 7), (own, 4)):
        assert (list(one.prompted), list(one.tracked)) == ([0], [1])
        assert one.prompted[0].masks.mask_logits.unique().tolist() == [object_id]


def test_the_first_object() -> None:
    buckets, place = with_home([], 3, 0, shared=True)
    assert (len(buckets), place) == (1, 0)
