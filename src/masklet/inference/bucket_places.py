"""Which of a session's buckets an object is in, and in which one it is prompted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from masklet.errors import InputError
from masklet.inference.bucket import Bucket, split


def place_of(buckets: Sequence[Bucket], object_id: int) -> int:
    """The bucket of an object.

    Raises:
        InputError: it is in none.
    """
    for place, bucket in enumerate(buckets):
        if object_id in bucket.object_ids:
            return place
    followed = sorted(i for bucket in buckets for i in bucket.object_ids)
    raise InputError(f"object_id must be one of those that are followed {followed}, got {object_id}")


def places_on(buckets: Sequence[Bucket], frame_idx: int, object_ids: Iterable[int]) -> list[int]:
    """The buckets of some objects, ascending; all of them remember the frame.

    Raises:
        InputError: an object is in none, or its bucket remembers nothing of the frame.
    """
    places = sorted({place_of(buckets, object_id) for object_id in object_ids})
    for place in places:
        if buckets[place].record(frame_idx) is None:
            raise InputError(
                f"nothing is remembered of frame {frame_idx} for objects {list(buckets[place].object_ids)}: "
                "follow it first"
            )
    return places


def with_home(
    buckets: Sequence[Bucket], object_id: int, frame_idx: int, *, shared: bool
) -> tuple[tuple[Bucket, ...], int]:
    """The buckets with one in which an object can be prompted on a frame, and its place.

    That is its own, one that is open, or a new one. An object leaves a bucket that remembers nothing of the frame: the
    others would learn that they are not there.

    Args:
        buckets: of all objects.
        object_id: that is prompted; it may be a new one.
        frame_idx: on which frame.
        shared: a new object joins others that were not followed yet.
    """
    if not any(object_id in bucket.object_ids for bucket in buckets):
        is_open = (place for place, bucket in enumerate(buckets) if shared and bucket.is_open)
        place = next(is_open, None)
        return (tuple(buckets), place) if place is not None else ((*buckets, Bucket()), len(buckets))
    place = place_of(buckets, object_id)
    bucket = buckets[place]
    if len(bucket) == 1 or bucket.is_open or bucket.record(frame_idx) is not None:
        return tuple(buckets), place
    others, own = split(bucket, object_id)
    return (*buckets[:place], others, *buckets[place + 1 :], own), len(buckets)
