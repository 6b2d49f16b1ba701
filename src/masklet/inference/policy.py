"""Every rule of following concepts through a video that has a number or a choice, in one frozen value.

The defaults are those of the original's builder (spec/video.md 1). Where the two public implementations differ
(section 12) there is a field, and the original's rule is its default. No rule reads anything else, so a policy and what
detector and tracker say decide a video.

    VideoPolicy()                                    as the original
    VideoPolicy.of(model.config)                     what suits a model; a predictor's own choice
    VideoPolicy(hotstart_delay=0, ...)               any rule changed
    VideoPolicy.without_disambiguation()             its builder with `apply_temporal_disambiguation=False`
    VideoPolicy.as_transformers()                    Hugging Face's implementation, for comparisons with it

Words: a masklet *near* a detection overlaps it a little, a *match* overlaps it well. A masklet is *unmatched* on a
frame where its concept was looked for, its mask is not empty and no detection matches it. The masklets that were born
on one frame are a *bucket*. A *prompted* frame is one on which a user or the detector said where masklets are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from masklet.config import ModelConfig
from masklet.errors import ConfigError

_SHARES = (
    *("detection_score", "detection_iou", "near_iou", "match_iou", "birth_score", "occlusion_iou"),
    *("recondition_score", "recondition_iou", "recondition_box_iou", "recondition_box_score", "shrink_share"),
)
_COUNTS = (
    *("hotstart_delay", "unmatched_frames", "shared_detections", "recondition_every"),
    *("clean_area", "refine_window"),
)


@dataclass(frozen=True, kw_only=True)
class VideoPolicy:
    """The rules. Overlaps (`_iou`) are of masks as the network gives them, and with scores in 0..1.

    Numbers are compared in float32. "At least" and "below" are meant literally.

    Attributes:
        detection_score: detections score more than this.
        detection_iou: of two detections that overlap more than this the one with the lower score goes; 0 keeps both.
        near_iou: a detection and a masklet that overlap at least this much are near: the detection starts no masklet,
            and the masklet is kept alive.
        match_iou: a masklet that a detection overlaps at least this much is matched.
        match_once: a detection matches one masklet only, such that the sum of overlaps is largest.
        birth_score: a detection starts a masklet if it scores at least this; not asked of a concept that has none yet.
        birth_margin: it starts none if its box's centre is not farther than this from the frame's edge, as a fraction
            of the side, 0..0.5; 0 allows all. The original's value where it is switched on is 0.025.
        births_upsampled: the mask of a new masklet is made of the detection's logits stretched to the tracker's size,
            above 0; else of the logits as they are, at least 0.5, stretched afterwards.
        births_cut: of the masks that start masklets on one frame the later ones are cut out of the earlier ones.
        shared_start: `birth_score` is asked as soon as any concept of the video has a masklet.
        max_masklets: masklets at a time, over all concepts; the detections with the lowest scores start none.
        hotstart_delay: frames after its birth during which a masklet can be removed, and during which frames are
            held back; 0 removes nothing and holds nothing back.
        unmatched_frames: within that time a masklet is removed that was unmatched on so many frames in all.
        shared_detections: and one that was near the same detection as an older masklet so many times.
        keep_alive_start: value of the counter at birth. One more for a frame on which the masklet is near a detection,
            one less for one on which it is unmatched.
        keep_alive_max: most it can be.
        keep_alive_min: least it can be.
        keep_alive_counts_empty: one less for an empty mask, too.
        keep_alive_hides: masklets are not shown while the counter is 0 or less.
        occlusion_iou: of two masklets that overlap at least this much the one more recently occluded is emptied; 0
            empties none.
        recondition_every: on frames whose index is a multiple of this masklets are set right by detections; 0: never.
        recondition_score: by detections that score at least this ...
        recondition_iou: ... and overlap the masklet at least this much ...
        recondition_sight_logit: ... if the tracker's logit of the object being in sight (no probability) is above
            this.
        recondition_box_iou: masklets are set right on a frame, too, if the box of such a detection overlaps that of its
            masklet less than this; 0: boxes are not looked at.
        recondition_box_score: least score of such a detection.
        recondition_bucket: the frame becomes a prompted one for the whole bucket, else for the one masklet.
        recondition_shown: what is given out for the frame is the detection's mask, else the tracker's.
        recondition_remembered: what is remembered of the frame is the detection's mask, else the tracker's.
        clean_area: holes and sprinkles of at most so many pixels of the network's mask are removed; 0: none.
        masks_compete: of masks of one concept that the tracker gives, those of clicked objects being of one, each pixel
            is left to the strongest before anything is decided, given out or remembered
            (`non_overlap_masks_for_mem_enc` and `non_overlap_masks_for_output`, spec/tracker.md 1).
        shrink_share: a masklet of which less than this share is left to it by others is remembered as empty.
        shrink_upsampled: the shares are counted on masks stretched to the size that is remembered.
        masks_apart: masks of one concept that are given out do not overlap; else they are as the tracker gives them.
        confirm: show masklets only once they were near a detection on `confirm_frames` frames in a row.
        confirm_frames: so many, at least 1.
        refine_with_memory: a click on a frame that was tracked already reads memory.
        refine_afresh: the first click on a masklet that was detected starts it anew.
        refine_window: a click makes the frames at most so far away on which the detector had said where the masklet is
            ordinary ones.
        memory_selection: the tracker reads frames on which the objects were seen well, not the last ones
            (spec/tracker.md 7.3).

    Raises:
        ConfigError: a value out of range, or counts that the hotstart delay cannot hold.
    """

    # detection
    detection_score: float = 0.5
    detection_iou: float = 0.1
    # association
    near_iou: float = 0.1
    match_iou: float = 0.5
    match_once: bool = False
    # births
    birth_score: float = 0.7
    birth_margin: float = 0.0
    births_upsampled: bool = True
    births_cut: bool = True
    shared_start: bool = False
    max_masklets: int = 10000
    # hotstart
    hotstart_delay: int = 15
    unmatched_frames: int = 8
    shared_detections: int = 8
    # keep-alive
    keep_alive_start: int = 30
    keep_alive_max: int = 30
    keep_alive_min: int = -1
    keep_alive_counts_empty: bool = False
    keep_alive_hides: bool = False
    # occlusion
    occlusion_iou: float = 0.7
    # reconditioning
    recondition_every: int = 16
    recondition_score: float = 0.8
    recondition_iou: float = 0.8
    recondition_sight_logit: float = 0.8
    recondition_box_iou: float = 0.0
    recondition_box_score: float = 0.0
    recondition_bucket: bool = True
    recondition_shown: bool = False
    recondition_remembered: bool = False
    # masks
    clean_area: int = 16
    masks_compete: bool = False
    shrink_share: float = 0.3
    shrink_upsampled: bool = True
    masks_apart: bool = True
    # confirmation
    confirm: bool = False
    confirm_frames: int = 3
    # clicks
    refine_with_memory: bool = False
    refine_afresh: bool = False
    refine_window: int = 16
    # the tracker's memory
    memory_selection: bool = True

    def __post_init__(self) -> None:
        for name in _SHARES:
            self._require(name, 0 <= getattr(self, name) <= 1, "in 0..1")  # false for NaN as well
        for name in _COUNTS:
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("birth_margin", 0 <= self.birth_margin < 0.5, "0 or more and below 0.5")
        self._require("max_masklets", self.max_masklets >= 1, "1 or more")
        self._require("confirm_frames", self.confirm_frames >= 1, "1 or more")
        self._require(
            "keep_alive_start",
            self.keep_alive_min <= self.keep_alive_start <= self.keep_alive_max,
            f"from keep_alive_min ({self.keep_alive_min}) to keep_alive_max ({self.keep_alive_max})",
        )
        if self.hotstart_delay:
            for name in ("unmatched_frames", "shared_detections"):
                self._require(
                    name,
                    getattr(self, name) <= self.hotstart_delay,
                    f"at most hotstart_delay ({self.hotstart_delay}), which is how long a masklet can be removed",
                )

    def _require(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise ConfigError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """The rules that suit a model: the original's, changed as its `SelectionConfig` says."""
        rules = cls.led_by_detections() if config.selection.detections_lead else cls()
        return replace(rules, masks_compete=config.selection.masks_compete)

    @classmethod
    def led_by_detections(cls) -> Self:
        """For a tracker whose masks are worse than its detector's (docs/decisions/0017-detections-lead.md).

        On every frame a masklet has the mask of the detection that agrees with it, and is followed from there. It is
        not shown where no detection was near it for some frames, and hinders no other by touching its detection.
        """
        return cls(
            near_iou=0.3,
            keep_alive_start=2,
            keep_alive_max=4,
            keep_alive_hides=True,
            recondition_every=1,
            recondition_score=cls.detection_score,
            recondition_iou=0.7,
            recondition_sight_logit=0.0,
            recondition_shown=True,
        )

    @classmethod
    def without_disambiguation(cls) -> Self:
        """The original's builder with temporal disambiguation off: no hotstart, reconditioning, memory selection."""
        return cls(
            hotstart_delay=0, unmatched_frames=0, shared_detections=0, recondition_every=0, memory_selection=False
        )

    @classmethod
    def as_transformers(cls, *, kernels: bool = False) -> Self:
        """The rules of Hugging Face's implementation (spec/video.md 12).

        Args:
            kernels: whether it finds the optional package without which it neither removes duplicates among detections
                nor cleans masks.
        """
        return cls(
            detection_iou=cls.detection_iou if kernels else 0.0,
            clean_area=cls.clean_area if kernels else 0,
            births_upsampled=False,
            births_cut=False,
            shared_start=True,
            recondition_bucket=False,
            recondition_shown=True,
            shrink_upsampled=False,
            memory_selection=False,
        )
