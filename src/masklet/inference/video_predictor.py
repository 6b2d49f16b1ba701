"""Films and concepts to identities: the way in for everyone who has a video and wants what is in it followed."""

from __future__ import annotations

from masklet.errors import InputError
from masklet.inference.batches import input_side
from masklet.inference.open_video import OpenVideo
from masklet.inference.policy import VideoPolicy
from masklet.inference.text_cache import TextCache
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.media.span import Span
from masklet.media.video import VideoInput, open_video
from masklet.model.detector import Detector
from masklet.model.memory_bank import BankRules


class VideoPredictor:
    """Follows what you name, show or click through videos.

        predictor = VideoPredictor(masklet.load_model())
        with predictor.open("clip.mp4") as video:
            video.add_concept("red car")
            for result in video.propagate():
                result.object_ids, result.masks, result.time_s

    It holds no video: several may be open at once.

    Args:
        model: has a tracker.
        policy: the rules of following concepts; None for those that suit the model (`VideoPolicy.of`).
        tracker_policy: the rules of the tracker's memory; None for those that go with `policy`.

    Raises:
        InputError: the model has no tracker.
    """

    def __init__(
        self, model: Detector, *, policy: VideoPolicy | None = None, tracker_policy: TrackerPolicy | None = None
    ) -> None:
        if not isinstance(model, Detector):
            raise InputError(
                f"VideoPredictor takes a model, got {type(model).__name__}; use VideoPredictor(masklet.load_model(...))"
            )
        if model.tracker is None or model.config.tracker is None:
            raise InputError(f"model {model.config.name!r} has no tracker, so it cannot follow anything: load another")
        self.model = model
        self.policy = policy or VideoPolicy.of(model.config)
        self.tracker_policy = tracker_policy or TrackerPolicy(
            bank=BankRules.of(model.config.tracker, select=self.policy.memory_selection),
            refine_with_memory=self.policy.refine_with_memory,
        )
        self._texts = TextCache(model)

    def open(
        self, video: VideoInput, *, span: Span | None = None, rate: float | None = None, image_size: int | None = None
    ) -> OpenVideo:
        """Opens a video; to be closed, or used as a context manager.

        Args:
            video: a film, a folder of frames, a picture, pictures in memory, "-" for standard input, "camera:0"; see
                `masklet.media.video.open_video`.
            span: which frames are read; None for all.
            rate: frames a second of pictures that have no times of their own.
            image_size: side of the square that the model sees, pixels, a multiple of the patch size; None is the
                model's own for frames (`ModelConfig.video_image_size`).

        Raises:
            VideoError: it cannot be read.
            InputError: `image_size` does not fit the model, or the span has no frame.
        """
        side = input_side(self.model, self.model.config.video_image_size if image_size is None else image_size)
        source = open_video(video, rate=rate)
        try:
            return OpenVideo(
                self.model,
                source,
                span=span or Span(),
                image_size=side,
                texts=self._texts,
                policy=self.policy,
                tracker_policy=self.tracker_policy,
            )
        except BaseException:
            source.close()
            raise
