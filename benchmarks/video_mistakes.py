"""The mistakes that `video_mutations.py` puts into masklet, one at a time: those of spec/video.md 14 and tracker.md 14.

They are in the rules of following concepts, in the loop that puts them in order, and in what a session remembers. Each
group names the tests that have to see its mistakes.
"""

from __future__ import annotations

from mistakes import Mistake, in_file

SCENARIOS = (
    *in_file(
        "inference/association.py",
        (
            "an empty masklet is unmatched",
            "overlap.looked_for & ~overlap.empty & ~matched",
            "overlap.looked_for & ~matched",
        ),
        ("a birth score is asked of the first, too", "(first | (scores >= np", "((scores >= np"),
        (
            "births above 0.7 only",
            "scores >= np.float32(policy.birth_score)",
            "scores > np.float32(policy.birth_score)",
        ),
        (
            "near above 0.1 only",
            "overlap.iou >= np.float32(policy.near_iou)",
            "overlap.iou > np.float32(policy.near_iou)",
        ),
        (
            "matched from 0.1 on",
            "overlap.iou >= np.float32(policy.match_iou)",
            "overlap.iou >= np.float32(policy.near_iou)",
        ),
        (
            "beyond the limit the first ones stay",
            'chosen = chosen[np.argsort(-detections.scores[chosen], kind="stable")[:room]]',
            "chosen = chosen[:room]",
        ),
    ),
    *in_file(
        "inference/lifecycle.py",
        ("keep-alive: two less", "np.maximum(keep_alive - 1,", "np.maximum(keep_alive - 2,"),
        (
            "keep-alive: no upper end",
            "np.minimum(masklets.keep_alive + 1, policy.keep_alive_max)",
            "masklets.keep_alive + 1",
        ),
        (
            "removed at the ninth unmatched frame",
            "max(1, policy.unmatched_frames), max",
            "1 + policy.unmatched_frames, max",
        ),
        ("removed at any age", "first_frame > frame_idx - delay", "first_frame > frame_idx - 99"),
        (
            "backwards: the older one is born earlier",
            "age = -masklets.first_frame if backwards else masklets.first_frame",
            "age = masklets.first_frame",
        ),
        (
            "shared detections count once on a frame",
            "min(shared.get(pair, 0) + 1, most)",
            "min(masklets.shared.get(pair, 0) + 1, most)",
        ),
        ("twins stay", "removed=lost | (young & doubles)", "removed=lost"),
        (
            "ids are used again",
            "return replace(self, **arrays, shared=shared)",
            "return replace(self, **arrays, shared=shared, next_id=max(left, default=-1) + 1)",
        ),
    ),
    *in_file(
        "inference/hold_back.py",
        (
            "one frame more is held back",
            "policy.confirm_frames if policy.confirm else 0, 1) - 1",
            "policy.confirm_frames if policy.confirm else 0, 1)",
        ),
        (
            "hidden from the removal on",
            "hide(HeldBack((*held.frames, frame)), removed)",
            "HeldBack((*held.frames, *hide(HeldBack((frame,)), removed).frames))",
        ),
        (
            "the frames that wait at the end are lost",
            "_given_out(held, len(held), policy)",
            "_given_out(held, 0, policy)",
        ),
        (
            "backwards begins with the start",
            "range(start - 1, max(start - steps, 0) - 1, -1)",
            "range(start, max(start - steps, 0) - 1, -1)",
        ),
    ),
    *in_file(
        "inference/concept_loop.py",
        (
            "memory of a suppressed masklet not emptied",
            "self._remember(frame_idx, shown,",
            "self._remember(frame_idx, logits,",
        ),
        (
            "a suppressed mask is given out",
            "_replaced(shown, detections, better, better.shown)",
            "_replaced(logits, detections, better, better.shown)",
        ),
        ("suppression is not remembered", "occluded = association.empty | suppressed", "occluded = association.empty"),
        (
            "what others cover is remembered",
            "logits = without_shrunk(logits, policy.shrink_share, self.masklets.concept_idx)",
            "pass",
        ),
        ("sight remembered by the mask before others cover it", "sight_logits_of(logits))", "sight_logits_of(shown))"),
        ("births of all concepts in one bucket", "births.concept_idx.tolist() if", "[0] * len(births) if"),
        ("births do not cut each other", "if self._policy.births_cut else object_ids", "if False else object_ids"),
        ("the tracker's score is a logit", "= sight_logits.float().sigmoid()", "= sight_logits.float()"),
        (
            "masklets begin with logits of 0.5 or more",
            "list(_stretched(mask_logits) > 0)",
            "list(_stretched(mask_logits) >= _BINARY)",
        ),
        (
            "the tracker's masks are not cleaned",
            "cleaned(tracked.masks.mask_logits, self._policy.clean_area)",
            "tracked.masks.mask_logits",
        ),
        (
            "masks of births are not cleaned",
            "cleaned(detections.mask_logits[births.detection_idx], self._policy.clean_area)",
            "detections.mask_logits[births.detection_idx]",
        ),
        (
            "hidden masklets are shown",
            "hidden = frozenset(before.ids(verdict.hidden))",
            "hidden: frozenset[int] = frozenset()",
        ),
        ("unconfirmed masklets are shown", "self.masklets.unconfirmed_ids(policy))", "frozenset())"),
        ("removed ones are followed on", "            self._session.remove(object_id)\n", "            pass\n"),
    ),
)

ASSOCIATION = in_file(
    "inference/association.py",
    ("duplicates among detections stay", "if policy.detection_iou > 0:", "if policy.detection_iou > 1:"),
)

LIFECYCLE = in_file(
    "inference/lifecycle.py",
    (
        "backwards: the window of forwards",
        "first_frame < frame_idx + delay if backwards",
        "first_frame > frame_idx - delay if backwards",
    ),
)

OCCLUSION = in_file(
    "inference/occlusion.py",
    ("forwards the one occluded earlier is emptied", "loses = earlier if backwards else later", "loses = earlier"),
    (
        "backwards mirrors forwards",
        "of_concept if backwards else of_concept & occluded_once",
        "of_concept & occluded_once",
    ),
    ("emptied above 0.7 only", "iou >= np.float32(policy.occlusion_iou)", "iou > np.float32(policy.occlusion_iou)"),
)

_SET_RIGHT = "        self._set_right(frame_idx, detections, better)\n"
_REMEMBER = "        self._remember(frame_idx, shown, detections, better)\n"

RECONDITION = (
    *in_file(
        "inference/recondition.py",
        (
            "sight as a probability sets right",
            "sight_logits.detach().float().cpu()",
            "sight_logits.detach().float().sigmoid().cpu()",
        ),
        (
            "set right on the frame after",
            "frame_idx % policy.recondition_every == 0",
            "frame_idx % policy.recondition_every == 1",
        ),
    ),
    *in_file(
        "inference/association.py",
        (
            "set right above 0.8 only",
            "scores >= np.float32(policy.recondition_score)",
            "scores > np.float32(policy.recondition_score)",
        ),
        (
            "the first sure detection sets right",
            "for detection in np.flatnonzero(sure):",
            "for detection in np.flatnonzero(sure)[::-1]:",
        ),
    ),
    Mistake(
        "memory is encoded before a masklet is set right",
        (
            (
                "inference/concept_loop.py",
                _SET_RIGHT + _REMEMBER,
                _REMEMBER + _SET_RIGHT,
            ),
        ),
    ),
)

SESSION = (
    *in_file(
        "inference/tracker_session.py",
        (
            "prompted frames are tracked anew",
            "if frame_idx in bucket.prompted or place in said_here:",
            "if place in said_here:",
        ),
        (
            "a pass back reads forwards",
            "recalled = recall(frame_idx, bucket.remembered(self._frames), self._policy.bank, backwards=backwards)",
            "recalled = recall(frame_idx, bucket.remembered(self._frames), self._policy.bank, backwards=False)",
        ),
    ),
    *in_file(
        "inference/tracker_steps.py",
        (
            "others of a bucket that is set right take the first one's masks",
            "before.masks.select([row])",
            "before.masks.select([0])",
        ),
        ("an unknown one of a bucket is out of sight", "_UNKNOWN_SIGHT = 10.0", "_UNKNOWN_SIGHT = -10.0"),
        ("prompted masks overlap in memory", "strongest_only(logits) if policy.masks_apart else logits", "logits"),
        (
            "prompted masks are remembered as probabilities",
            "apart, sight_logits, binary=True",
            "apart, sight_logits, binary=False",
        ),
    ),
    *in_file(
        "inference/bucket.py",
        (
            "earlier masks cut later ones",
            "waiting = {i: _without(other, answer.given > 0) for i, other in waiting.items()}",
            "pass",
        ),
        (
            "a frame set right stays a tracked one",
            "tracked = {t: other for t, other in bucket.tracked.items() if t != frame_idx}",
            "tracked = bucket.tracked",
        ),
    ),
)

PASSES = (
    *in_file(
        "inference/tracker_session.py",
        ("memory by the order of buckets", "if order != list(range(count)):", "if False:"),
    ),
    *in_file(
        "inference/bucket.py",
        ("the window of a click is strict", "abs(frame_idx - near) <= window", "abs(frame_idx - near) < window"),
    ),
)

PLACES = in_file(
    "inference/bucket_places.py",
    (
        "a click on a forgotten frame takes the others along",
        "if len(bucket) == 1 or bucket.is_open or",
        "if True or",
    ),
    ("others of a followed bucket are joined", "if shared and bucket.is_open)", "if shared)"),
)

SEEN_ONCE = in_file(
    "inference/bucket.py",
    ("one frame too few is kept", "within_reach(way.last + step,", "within_reach(way.last + 2 * step,"),
)

TAKEN_UP = in_file(
    "inference/bucket.py",
    ("every frame begins a pass", "way.first if way is not None and goes_on else frame_idx", "frame_idx"),
)

LAID_ASIDE = in_file(
    "inference/bucket.py",
    ("what a user said is forgotten", "if t in kept or t in by_user\n", "if t in kept\n"),
)

PEER = in_file(
    "inference/tracker_session.py",
    ("births leave the memory of others", "            self._remember_as_binary(frame_idx)\n", "            pass\n"),
)

BY_TESTS: tuple[tuple[str, tuple[Mistake, ...]], ...] = (
    ("tests/inference/test_video_scenarios.py", SCENARIOS),
    ("tests/inference/test_association.py", ASSOCIATION),
    ("tests/inference/test_lifecycle.py", LIFECYCLE),
    ("tests/inference/test_occlusion.py", OCCLUSION),
    ("tests/inference/test_recondition.py", RECONDITION),
    ("tests/inference/test_tracker_session.py", SESSION),
    ("tests/inference/test_tracker_passes.py", PASSES),
    ("tests/inference/test_bucket_places.py", PLACES),
    ("tests/inference/test_tracker_memory.py::test_a_pass_taken_up_again", TAKEN_UP),
    ("tests/inference/test_tracker_memory.py::test_what_is_seen_once", SEEN_ONCE),
    (
        "tests/inference/test_tracker_memory.py::test_maps_of_a_users_prompts_are_laid_aside_and_made_again",
        LAID_ASIDE,
    ),
    ("tests/inference/test_video_parity.py::test_births_among_others_one_frame_at_a_time", PEER),
)
"""Tests as pytest names them, and the mistakes that they have to see; of slow files one test."""
