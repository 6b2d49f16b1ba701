"""Two masklets on one object: which of them is emptied (spec/video.md 6.3). Pure.

When two masklets of a concept come to lie on each other, one has usually been carried over from an object that went
out of sight: forwards that is the one that was occluded more recently. Unusual: going backwards the rule is not the
mirror image. There the one that was occluded on the earlier frame is emptied, and also one that never was.

    suppressed = occluded_twins(masks, verdict.masklets, verdict.removed, backwards=b, policy=policy)
    mask_logits = emptied(mask_logits, suppressed)                           ops/mask_cleanup.py

Shape letter: O masklets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from masklet.inference.lifecycle import JUST_BORN, NEVER, Masklets
from masklet.inference.policy import VideoPolicy
from masklet.ops.masks import BoolArray, mask_iou

IntArray = npt.NDArray[np.int64]

_LATER_THAN_ALL = np.iinfo(np.int64).max


def occluded_twins(
    masks: Tensor, masklets: Masklets, removed: BoolArray, *, backwards: bool, policy: VideoPolicy
) -> BoolArray:
    """Which masklets are emptied on a frame, since another lies where they lie.

    All pairs are judged by what was known before the frame; one that is emptied still empties others.

    Args:
        masks: (O, h, w) bool of the masklets as the tracker gives them, holes filled.
        masklets: O, at the start of the frame.
        removed: (O,) those that are removed on this frame; one that is removed on the first frame after its birth
            counts as occluded last of all.
        backwards: the video is followed from its end.
        policy: `occlusion_iou`.

    Returns:
        (O,).
    """
    suppressed = np.zeros(len(masklets), dtype=np.bool_)
    if policy.occlusion_iou == 0:
        return suppressed
    last = np.maximum(masklets.last_occluded, NEVER)
    last[removed & (masklets.last_occluded == JUST_BORN)] = _LATER_THAN_ALL
    occluded_once = last != NEVER
    for concept in np.unique(masklets.concept_idx[occluded_once]):
        of_concept = masklets.concept_idx == concept
        # Only one that was occluded once can win, and forwards only such a one can lose: few overlaps are needed.
        winners = np.flatnonzero(of_concept & occluded_once)
        losers = np.flatnonzero(of_concept if backwards else of_concept & occluded_once)
        earlier = last[losers][:, None] < last[winners][None]
        later = last[losers][:, None] > last[winners][None]
        loses = earlier if backwards else later
        if loses.any():
            iou = mask_iou(masks[losers], masks[winners]).cpu().numpy()
            suppressed[losers] = (loses & (iou >= np.float32(policy.occlusion_iou))).any(1)
    return suppressed & ~masklets.by_user
