"""Detector + IoU, which a tracker has to beat: the detections of each frame, joined by mask overlap alone.

No network remembers anything here, nothing is predicted, and a mask is only ever one that was detected. So an object
that is hidden, or overlooked on some frames, loses its identity as soon as what comes back lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from masklet.evaluation.clip_scores import FrameMasks
from masklet.evaluation.matching import assign
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.policy import VideoPolicy
from masklet.ops.masks import Rle, rle_iou
from masklet.synthetic.clips import Clip

MATCH_IOU = 0.5
PATIENCE = VideoPolicy.unmatched_frames
"""Frames that an identity outlives its last detection; as many as a young masklet may be unmatched."""


@dataclass
class _Identity:
    """An object as it comes together."""

    masks: list[Rle | None]
    last: Rle
    last_seen: int


def join_by_iou(detections: Sequence[Sequence[Rle]]) -> list[FrameMasks]:
    """The objects that the detections of F frames become, in the order of their first frame.

    On each frame detections and identities that overlap at least `MATCH_IOU` are paired so that the sum of overlaps is
    largest (Hungarian). Compared is the last mask of an identity, which is dropped after `PATIENCE` frames without a
    detection. A detection without a partner is a new identity.

    Args:
        detections: of each frame, of one concept.
    """
    everyone: list[_Identity] = []
    for frame_idx, found in enumerate(detections):
        alive = [one for one in everyone if frame_idx - one.last_seen <= PATIENCE + 1]
        overlap = rle_iou(found, [one.last for one in alive])
        overlap[overlap < MATCH_IOU] = 0
        pairs = zip(*assign(overlap), strict=True)
        partner = {int(detection): alive[identity] for detection, identity in pairs if overlap[detection, identity] > 0}
        for detection, rle in enumerate(found):
            if detection not in partner:
                partner[detection] = _Identity([None] * len(detections), rle, frame_idx)
                everyone.append(partner[detection])
            identity = partner[detection]
            identity.masks[frame_idx], identity.last, identity.last_seen = rle, rle, frame_idx
    return [one.masks for one in everyone]


def detect_phrases(
    predictor: ImagePredictor, policy: VideoPolicy, clip: Clip, phrases: Sequence[str]
) -> list[list[list[Rle]]]:
    """What is found of P phrases on each frame of a clip, (P, F, detections): by the rules of `policy`.

    Args:
        predictor: of the model that also follows; frames have the size that they have in a video.
        policy: least score, and the overlap above which the weaker of two detections goes.
        clip: of which the frames alone are looked at.
        phrases: what is looked for.
    """
    frames = [
        predictor.segment(
            frame,
            phrases,
            threshold=policy.detection_score,
            nms_iou=policy.detection_iou or None,
            image_size=predictor.model.config.video_image_size,
        )
        for frame in clip.frames
    ]
    return [[frame[place].rle() for frame in frames] for place in range(len(phrases))]
