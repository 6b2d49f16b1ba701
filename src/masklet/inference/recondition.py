"""When a detection sets a masklet right (spec/video.md 6.2). Pure.

On every 16th frame of the video, frame 0 included, each masklet that the tracker is sure of and that a sure detection
lies on gets that detection's mask as a prompt. Optionally also on frames where the two boxes have come apart.

Shape letters: N detections, O masklets, K corrections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masklet.inference.association import Association, FrameDetections
from masklet.inference.lifecycle import Masklets
from masklet.inference.policy import VideoPolicy
from masklet.ops.boxes import cxcywh_to_xyxy, iou_xyxy
from masklet.ops.masks import BoolArray, masks_to_boxes

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrections:
    """Which masklets are set right on a frame, in their order.

    Attributes:
        masklet_idx: (K,).
        detection_idx: (K,) by which detections; one may set several right.
        shown: (K,) the detection's mask is given out on this frame, not the tracker's.
    """

    masklet_idx: IntArray
    detection_idx: IntArray
    shown: BoolArray

    def __len__(self) -> int:
        return len(self.masklet_idx)


def corrections(
    detections: FrameDetections,
    association: Association,
    masklets: Masklets,
    *,
    mask_logits: Tensor,
    sight_logits: Tensor,
    frame_idx: int,
    policy: VideoPolicy,
) -> Corrections:
    """The corrections of a frame. One that a user vouched for is left as it is.

    Args:
        detections: N.
        association: of N detections and O masklets.
        masklets: O.
        mask_logits: (O, h, w) as the tracker gives them; read only if boxes are looked at.
        sight_logits: (O,) the tracker's logits of the objects being in sight.
        frame_idx: index in the video, from its first frame in either direction.
        policy: `recondition_...`.
    """
    best = association.best
    apart = _boxes_apart(detections, best, mask_logits, policy)
    due = policy.recondition_every > 0 and frame_idx % policy.recondition_every == 0
    in_sight = sight_logits.detach().float().cpu().numpy() > np.float32(policy.recondition_sight_logit)
    chosen = np.flatnonzero((best >= 0) & in_sight & ~masklets.by_user) if due or apart.any() else np.zeros(0, np.int64)
    return Corrections(
        masklet_idx=chosen, detection_idx=best[chosen], shown=apart[chosen] | np.bool_(policy.recondition_shown)
    )


def _boxes_apart(detections: FrameDetections, best: IntArray, mask_logits: Tensor, policy: VideoPolicy) -> BoolArray:
    """(O,) the box of the masklet's best detection, a sure one, is not where the masklet's is."""
    apart = np.zeros(len(best), dtype=np.bool_)
    held = np.flatnonzero(best >= 0)
    if policy.recondition_box_iou > 0 and len(held):
        height, width = mask_logits.shape[1:]
        boxes = masks_to_boxes(mask_logits[held] > 0).cpu() / torch.tensor([width, height, width, height])
        found = cxcywh_to_xyxy(torch.from_numpy(detections.boxes_cxcywh_norm[best[held]]))
        far = iou_xyxy(boxes, found).numpy() < np.float32(policy.recondition_box_iou)
        apart[held] = far & (detections.scores[best[held]] >= np.float32(policy.recondition_box_score))
    return apart
