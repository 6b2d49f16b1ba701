"""Objects followed through one video by what a user or a detector says of them (spec/tracker.md 9).

    session = TrackerSession(tracker, features_of_frame, size_hw=(480, 854), frames=80, policy=policy)
    session.click(0, 1, [(210, 350)], [1])                  object 1 on frame 0
    for frame in session.propagate():                       TrackedFrame of 0, 1, 2 ...
        ...
    session.click(40, 1, [(300, 20)], [0])                  set right, at any time
    for frame in session.propagate(40, backwards=True):
        ...

Who looks for concepts takes one frame after the other, and says itself what is remembered of it:

    session.begin(0, masks)                                 a bucket of new objects
    frame = session.follow(1, remember=False)               before it is decided who is who
    session.correct(1, masks)                               set right by a detector
    session.remember(1, mask_logits, sight_logits)

The state is a list of `Bucket` values, which every call replaces: a pass may be left at any frame, and another begun.
Unlike in the original, objects may come at any time, prompts need no merging, and memory does not grow with the video
(`TrackerPolicy.forget`). What that costs: a pass that begins neither where the last one ended or began nor on a
prompted frame finds the tracked frames around it forgotten; it reads prompted ones, and a click there has no mask to
refine unless one is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from masklet.errors import InputError, PromptError
from masklet.inference.bucket import (
    Bucket,
    answered,
    cleared,
    demoted,
    passed,
    settled,
    to_be_refined,
    trimmed,
    with_map,
    without_object,
)
from masklet.inference.bucket_places import place_of, places_on, with_home
from masklet.inference.object_prompts import Prompt, few, mask_prompt, point_prompt
from masklet.inference.tracked_frame import TrackedFrame, logits_px, pass_order, tracked_frame
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_steps import (
    answer_masks,
    answer_points,
    map_again,
    map_tokens,
    score_of,
    settle,
    track,
)
from masklet.model.memory_bank import Recall, recall
from masklet.model.tracker import Tracker
from masklet.ops.coordinates import ImageCoordinates
from masklet.types import MaskletMasks, Memory, TrackerFeatures


class TrackerSession:
    """Follows objects through one video.

    Args:
        tracker: of the model; not changed.
        features: what the tracker reads of a frame (`Tracker.features`), by its index. Asked once for each frame that
            is passed, and again for one that is returned to; the last answer is kept.
        size_hw: of the video, pixels.
        frames: its length; None where that is not known, as of a camera.
        policy: the rules.
    """

    def __init__(
        self,
        tracker: Tracker,
        features: Callable[[int], TrackerFeatures],
        *,
        size_hw: tuple[int, int],
        frames: int | None,
        policy: TrackerPolicy,
    ) -> None:
        self._tracker = tracker
        self._features = features
        self._coordinates = ImageCoordinates(height=size_hw[0], width=size_hw[1])
        self._size_hw = size_hw
        self._frames = frames
        self._policy = policy
        self._buckets: list[Bucket] = []
        self._object_ids: tuple[int, ...] = ()
        self._last: tuple[int, TrackerFeatures] | None = None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that are followed, in the order in which they came."""
        return self._object_ids

    @property
    def policy(self) -> TrackerPolicy:
        """The rules."""
        return self._policy

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """What is remembered."""
        return tuple(self._buckets)

    @property
    def prompted_frames(self) -> list[int]:
        """The frames on which somebody said where objects are, ascending."""
        return sorted({t for bucket in self._buckets for t in (*bucket.prompted, *bucket.pending)})

    # --- prompts ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def click(
        self,
        frame_idx: int,
        object_id: int,
        points_xy: Iterable[Sequence[float]] | Tensor | None = None,
        labels: Iterable[int] | Tensor | None = None,
        *,
        box_xyxy: Sequence[float] | Tensor | None = None,
        keep_earlier: bool = False,
        refined: Tensor | None = None,
        with_memory: bool | None = None,
    ) -> TrackedFrame:
        """Says where an object is by clicks, a box, or both. A mask that was given of it on this frame is dropped.

        The answer refines the mask that the object has on the frame, also one of clicks that this call replaces.

        Args:
            frame_idx: on which frame; it need not have been passed.
            object_id: 0 or more; one that is not followed yet begins here.
            points_xy: x, y in pixels of the video.
            labels: 1 on the object, 0 not on it, for each point.
            box_xyxy: around the object, pixels of the video.
            keep_earlier: these points are added to the earlier ones of the object on this frame; not with a box.
            refined: (H, W) logits of the object's mask on a frame that is forgotten, at any size.
            with_memory: whether a click on a frame that was passed reads memory; None: as the policy says.

        Returns:
            All objects on the frame.

        Raises:
            InputError: the frame does not exist, or the id is below 0.
            PromptError: the points, labels or box cannot be used.
        """
        self._check(frame_idx, object_id)
        if box_xyxy is not None and keep_earlier:
            raise PromptError(
                "a box comes before all points of an object, so it cannot be added to earlier ones: "
                "give it with keep_earlier=False"
            )
        features = self._at(frame_idx)
        points = point_prompt(
            points_xy,
            labels,
            box_xyxy,
            coordinates=self._coordinates,
            input_size_hw=self._tracker.input_size_hw(features),
            device=features.coarse.device,
        )
        place = self._home(object_id, frame_idx)
        bucket = self._buckets[place]
        earlier = bucket.prompts.get(frame_idx, {}).get(object_id)
        if keep_earlier and earlier is not None and earlier.points is not None:
            points = earlier.points.followed_by(points)
        points = few(points, self._policy.most_points)
        if with_memory is None:
            with_memory = self._policy.refine_with_memory
        earlier_mask = to_be_refined(bucket, frame_idx, object_id, refined) if self._policy.feed_back else None
        answer = answer_points(
            self._tracker,
            features,
            points,
            refined=None if earlier_mask is None else earlier_mask.to(features.coarse.device),
            memory=self._own_memory(place, frame_idx, object_id) if with_memory else None,
        )
        self._buckets[place] = answered(bucket, frame_idx, {object_id: Prompt(points)}, {object_id: answer})
        self._note([object_id])
        return self.shown(frame_idx)

    @torch.no_grad()
    def give_mask(self, frame_idx: int, object_id: int, mask: ArrayLike | Tensor) -> TrackedFrame:
        """Says where an object is by its mask. Points of it on this frame are dropped.

        Masks that are given on one frame do not overlap: each loses what a later one covers, in a bucket.

        Args:
            frame_idx: on which frame; it need not have been passed.
            object_id: 0 or more; one that is not followed yet begins here.
            mask: (H, W) array or tensor of the frame, bool or 0..1, at any size. An empty one says that the object is
                not there.

        Returns:
            All objects on the frame.

        Raises:
            InputError: the frame does not exist, or the id is below 0.
            PromptError: no mask.
        """
        self._check(frame_idx, object_id)
        given = mask_prompt(mask)
        place = self._home(object_id, frame_idx)
        self._buckets[place] = self._with_masks(self._buckets[place], frame_idx, {object_id: given}, by_user=True)
        self._note([object_id])
        return self.shown(frame_idx)

    @torch.no_grad()
    def begin(
        self, frame_idx: int, masks: Mapping[int, ArrayLike | Tensor], *, groups: Mapping[int, int] | None = None
    ) -> None:
        """Begins objects that a detector found on a frame, and remembers them.

        By `TrackerPolicy.binary_beside_prompts` what is remembered of the frame for other objects is made anew.

        Args:
            frame_idx: on which frame.
            masks: (H, W) by id, as for `give_mask`.
            groups: by id; the objects of a group form a bucket, in which later masks are cut out of earlier ones, and
                which do not overlap in what is remembered. None: all are of one group.

        Raises:
            InputError: the frame does not exist, an id is below 0 or followed already.
            PromptError: no mask.
        """
        given = {object_id: mask_prompt(mask) for object_id, mask in masks.items()}
        for object_id in given:
            self._check(frame_idx, object_id)
            if object_id in self._object_ids:
                raise InputError(
                    f"an object that begins must have a new id, got {object_id}; {list(self._object_ids)} are followed"
                )
        if given and self._policy.binary_beside_prompts:
            self._remember_as_binary(frame_idx)
        together: dict[int, dict[int, Tensor]] = {}
        for object_id, mask in given.items():
            group = 0 if groups is None else groups[object_id]
            together.setdefault(group if self._policy.shared_buckets else object_id, {})[object_id] = mask
        for each in together.values():
            bucket = self._with_masks(Bucket(), frame_idx, each, by_user=False)
            self._buckets.append(settle(self._tracker, self._at(frame_idx), bucket, frame_idx, self._policy))
        self._note(given)

    @torch.no_grad()
    def correct(self, frame_idx: int, masks: Mapping[int, ArrayLike | Tensor], *, remember: bool = True) -> None:
        """Sets objects right by masks of a detector, on a frame that was just passed.

        The frame becomes a prompted one for all objects of their buckets; the others keep the masks that they have.

        Args:
            frame_idx: on which frame.
            masks: (H, W) by id, as for `give_mask`.
            remember: make the memory maps; else `remember` has to, before the next frame.

        Raises:
            InputError: an id that is not followed, or of whose bucket nothing is remembered of the frame.
            PromptError: no mask.
        """
        given = {object_id: mask_prompt(mask) for object_id, mask in masks.items()}
        for place in places_on(self._buckets, frame_idx, given):
            bucket = self._buckets[place]
            own = {i: given[i] for i in bucket.object_ids if i in given}
            bucket = self._with_masks(bucket, frame_idx, own, by_user=False)
            self._buckets[place] = settle(
                self._tracker, self._at(frame_idx), bucket, frame_idx, self._policy, remember=remember
            )

    def promote(self, frame_idx: int, object_ids: Collection[int]) -> None:
        """Makes a tracked frame a prompted one for the buckets of some objects, as it is remembered.

        Raises:
            InputError: an id that is not followed, or of whose bucket nothing is remembered of the frame.
        """
        for place in places_on(self._buckets, frame_idx, object_ids):
            record = self._buckets[place].record(frame_idx)
            assert record is not None
            self._buckets[place] = settled(self._buckets[place], frame_idx, record, as_prompted=True)

    def demote(self, object_id: int, near: int, *, window: int) -> None:
        """Makes frames ordinary on which a detector had said where an object is, once a user has.

        Args:
            object_id: that was clicked.
            near: the frame of the click.
            window: frames at most so far away are made ordinary, for all objects of the bucket; not those on which a
                user spoke of any of them.

        Raises:
            InputError: the object is not followed.
        """
        place = place_of(self._buckets, object_id)
        self._buckets[place] = demoted(self._buckets[place], object_id, near, window=window)

    def clear(self, frame_idx: int, object_id: int) -> None:
        """Takes back what was said of an object on a frame; nothing happens if nothing was.

        If nothing was said there of the other objects of its bucket, it is a tracked frame from now on. Without any
        prompted frame the bucket is not followed; its objects wait for a prompt.

        Raises:
            InputError: the object is not followed.
        """
        place = place_of(self._buckets, object_id)
        if object_id in self._buckets[place].prompts.get(frame_idx, {}):
            self._buckets[place] = cleared(self._buckets[place], frame_idx, [object_id])

    def remove(self, object_id: int) -> None:
        """Stops following an object.

        Raises:
            InputError: the object is not followed.
        """
        place = place_of(self._buckets, object_id)
        left = without_object(self._buckets[place], object_id)
        self._buckets[place : place + 1] = [left] if len(left) else []
        self._object_ids = tuple(i for i in self._object_ids if i != object_id)

    def reset(self) -> None:
        """Forgets all objects and prompts."""
        self.restore((), ())

    def restore(self, buckets: Sequence[Bucket], object_ids: tuple[int, ...]) -> None:
        """Takes back what was remembered when `buckets` and `object_ids` were these."""
        self._buckets = list(buckets)
        self._object_ids = object_ids

    # --- passes -------------------------------------------------------------------------------------------------------

    def propagate(
        self, start: int | None = None, steps: int | None = None, *, backwards: bool = False
    ) -> Iterator[TrackedFrame]:
        """Follows all objects from a frame on, that frame included.

        Args:
            start: first frame; None: the earliest prompted one.
            steps: how many frames to move on from there at most, so that 0 is one frame; None: to the end.
            backwards: towards the first frame.

        Returns:
            An iterator of frames; each is computed when it is asked for. Objects may come and go in between.

        Raises:
            InputError: no object has a prompt, the frame does not exist, or `steps` is below 0, or not given where the
                length of the video is not known.
        """
        prompted = self.prompted_frames
        if not prompted:
            raise InputError("there is nothing to follow: click on an object, or give its mask, first")
        start = prompted[0] if start is None else start
        self._check_frame(start)
        order = pass_order(start, steps, frames=self._frames, backwards=backwards)
        return (self.follow(frame_idx, backwards=backwards) for frame_idx in order)

    @torch.no_grad()
    def follow(
        self,
        frame_idx: int,
        *,
        backwards: bool = False,
        remember: bool = True,
        object_ids: Collection[int] | None = None,
    ) -> TrackedFrame:
        """Passes one frame: prompts that wait anywhere are settled, then the objects are followed to here.

        A prompted frame gives what is remembered of it. No objects give none.

        Args:
            frame_idx: which.
            backwards: the video is followed from its end.
            remember: make the memory maps; else `remember` has to, before the next frame.
            object_ids: only the buckets of these are followed, the others stay where they are; None: all.

        Raises:
            InputError: the frame does not exist, an object is not followed, or a frame that this one reads was followed
                without being remembered.
        """
        self._check_frame(frame_idx)
        chosen = (
            range(len(self._buckets))
            if object_ids is None
            else sorted({place_of(self._buckets, i) for i in object_ids})
        )
        said_here = {place for place in chosen if frame_idx in self._buckets[place].pending}
        self._settle()
        features, policy = self._at(frame_idx), self._policy
        moving = []
        for place in chosen:
            bucket = self._buckets[place]
            if frame_idx in bucket.prompted or place in said_here:
                self._buckets[place] = passed(bucket, frame_idx, backwards=backwards)
            elif bucket.prompted:
                moving.append(place)
        recalls = [self._recall(place, frame_idx, backwards=backwards) for place in moving]
        found = track(self._tracker, features, [self._buckets[place] for place in moving], recalls)
        for place, masks in zip(moving, found, strict=True):
            self._buckets[place] = passed(
                self._buckets[place], frame_idx, backwards=backwards, masks=masks, score=score_of(masks, policy)
            )
        if remember and found:
            masks = MaskletMasks.joined(found)
            self._write(
                moving,
                frame_idx,
                self._tracker.at_input_size(features, masks.mask_logits),
                masks.sight_logits,
                binary=policy.binary_beside_prompts and bool(said_here),
            )
        if policy.forget:
            self._buckets = [
                bucket if bucket.way is None else trimmed(bucket, policy.bank, self._frames, both_ways=policy.both_ways)
                for bucket in self._buckets
            ]
        return self.shown(frame_idx)

    @torch.no_grad()
    def remember(self, frame_idx: int, mask_logits: Tensor, sight_logits: Tensor) -> None:
        """Makes what is remembered of a frame anew, of given masks; pointers stay as they are.

        Args:
            frame_idx: a frame that was passed.
            mask_logits: (O, H, W) of all objects, in the order of `object_ids`, at any size.
            sight_logits: (O,).

        Raises:
            InputError: not as many masks as objects, or nothing is remembered of the frame.
        """
        count = len(self._object_ids)
        if len(mask_logits) != count or len(sight_logits) != count:
            raise InputError(
                f"expected a mask and a logit of sight for each of {count} objects, got {len(mask_logits)} and "
                f"{len(sight_logits)}"
            )
        if not count:
            return
        places = places_on(self._buckets, frame_idx, self._object_ids)
        order = [self._object_ids.index(i) for place in places for i in self._buckets[place].object_ids]
        if order != list(range(count)):
            mask_logits, sight_logits = mask_logits[order], sight_logits[order]
        self._write(places, frame_idx, mask_logits, sight_logits, binary=False)

    @torch.no_grad()
    def shown(self, frame_idx: int) -> TrackedFrame:
        """All objects on a frame, as far as it is remembered; waiting answers come first."""
        grid_hw = (self._at(frame_idx) if self._last is None else self._last[1]).grid_hw  # of any frame
        return tracked_frame(self._tracker, self._buckets, self._object_ids, frame_idx, grid_hw, self._policy)

    @torch.no_grad()
    def mask_logits_px(self, frame_idx: int) -> Tensor:
        """(O, H, W) float32 logits of all objects on a frame at the video's size, in the order of `object_ids`.

        A mask that was given since the last pass is that mask, -1024 and 1024.
        """
        return logits_px(self.shown(frame_idx), self._buckets, self._size_hw)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _at(self, frame_idx: int) -> TrackerFeatures:
        """The features of a frame; those of the last one are kept, since clicks come in rows."""
        if self._last is None or self._last[0] != frame_idx:
            self._last = (frame_idx, self._features(frame_idx))
        return self._last[1]

    def _check(self, frame_idx: int, object_id: int) -> None:
        self._check_frame(frame_idx)
        if object_id < 0:
            raise InputError(f"object_id must be 0 or more, got {object_id}")

    def _check_frame(self, frame_idx: int) -> None:
        if frame_idx < 0 or (self._frames is not None and frame_idx >= self._frames):
            last = "" if self._frames is None else f" to {self._frames - 1}"
            raise InputError(f"frame_idx must be from 0{last}, got {frame_idx}")

    def _note(self, object_ids: Iterable[int]) -> None:
        self._object_ids = tuple(dict.fromkeys((*self._object_ids, *object_ids)))

    def _home(self, object_id: int, frame_idx: int) -> int:
        """The bucket in which an object is prompted."""
        buckets, place = with_home(self._buckets, object_id, frame_idx, shared=self._policy.shared_buckets)
        self._buckets = list(buckets)
        return place

    def _with_masks(self, bucket: Bucket, frame_idx: int, masks: Mapping[int, Tensor], *, by_user: bool) -> Bucket:
        features = self._at(frame_idx)
        answers = answer_masks(
            self._tracker,
            features,
            [mask.to(features.coarse.device) for mask in masks.values()],
            size_hw=self._size_hw,
            policy=self._policy,
        )
        prompts = {object_id: Prompt(None, by_user=by_user) for object_id in masks}
        return answered(bucket, frame_idx, prompts, dict(zip(masks, answers, strict=True)))

    def _own_memory(self, place: int, frame_idx: int, object_id: int) -> Memory | None:
        """What one object brings to a frame that was passed before, in the direction of that time; None: it was not."""
        bucket = self._buckets[place]
        records = bucket.tracked if not self._policy.refined_is_prompted else {**bucket.tracked, **bucket.prompted}
        record = records.get(frame_idx)
        if record is None or record.backwards is None or not bucket.prompted:
            return None
        recalled = self._recall(place, frame_idx, backwards=record.backwards)
        return self._buckets[place].memory(recalled, bucket.object_ids.index(object_id))

    def _settle(self) -> None:
        """Every prompt that waits, frame after frame."""
        for place in range(len(self._buckets)):
            for frame_idx in sorted(self._buckets[place].pending):
                features = self._at(frame_idx)
                self._buckets[place] = settle(self._tracker, features, self._buckets[place], frame_idx, self._policy)

    def _recall(self, place: int, frame_idx: int, *, backwards: bool) -> Recall:
        """What a bucket reads on a frame; maps that were laid aside are made again."""
        bucket = self._buckets[place]
        recalled = recall(frame_idx, bucket.remembered(self._frames), self._policy.bank, backwards=backwards)
        for missing in bucket.without_map(recalled):
            if missing in bucket.tracked:
                raise InputError(
                    f"frame {missing} was followed without being remembered, and frame {frame_idx} reads it: call "
                    "remember first"
                )
            features = self._features(missing)
            bucket = with_map(
                bucket, missing, map_again(self._tracker, features, bucket.prompted[missing], self._policy)
            )
        self._buckets[place] = bucket
        return recalled

    def _remember_as_binary(self, frame_idx: int) -> None:
        """Makes the memory maps of objects that were tracked on a frame anew, of the tracker's own masks, binary."""
        places = [place for place, bucket in enumerate(self._buckets) if frame_idx in bucket.tracked]
        if places:
            masks = MaskletMasks.joined([self._buckets[place].tracked[frame_idx].masks for place in places])
            logits = self._tracker.at_input_size(self._at(frame_idx), masks.mask_logits)
            self._write(places, frame_idx, logits, masks.sight_logits, binary=True)

    def _write(
        self, places: Sequence[int], frame_idx: int, mask_logits: Tensor, sight_logits: Tensor, *, binary: bool
    ) -> None:
        """Memory maps of all objects of some buckets, made together."""
        maps = map_tokens(
            self._tracker, self._at(frame_idx), mask_logits, sight_logits, binary=binary, policy=self._policy
        )
        for place, part in zip(places, maps.split([len(self._buckets[place]) for place in places]), strict=True):
            own = part if len(places) == 1 else part.clone()  # a part would keep the whole in memory
            self._buckets[place] = with_map(self._buckets[place], frame_idx, own)
