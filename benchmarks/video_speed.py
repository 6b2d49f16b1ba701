"""Seconds a frame of following N objects, beside transformers: `python benchmarks/video_speed.py` (`make bench-video`).

The same random weights of the default model's sizes, the same pictures, the same rules, the same threads; ours and
theirs pass some frames each in turns within one run (see speed.py, which also says what the columns are). Every object
has as much behind it as following ever reads when the clock starts: `--warm-up` frames. What is done ahead of the last
frame of a turn belongs to it: the clock waits until nothing is done any more.

That there are exactly N objects on both sides is forced: a detection always scores enough, never counts as near an
object that is there, and begins one until there is no room; nothing is removed. So each frame also has the detections
of all queries, as many on both sides. Ours is from pixels to results in the size of the video, as a user gets them;
theirs begins with pictures that are prepared and ends with masks in the resolution of the network.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from rivals import Pair
from speed import record, run
from torch import Tensor

from masklet.config import DEFAULT, ModelConfig
from masklet.inference.policy import VideoPolicy
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tracker_oracle import moving_blocks
from video_models import CONFIG, hf_video_model, ours_of

SIZES: dict[str, ModelConfig] = {
    # As Hugging Face's format can hold it.
    "default": replace(
        DEFAULT,
        video_image_size=None,
        vision=replace(DEFAULT.vision, norm_eps=CONFIG.vision.norm_eps),
        geometry=replace(DEFAULT.geometry, points=False, cls_without_exemplars=False),
        decoder=replace(DEFAULT.decoder, presence_clamp=CONFIG.decoder.presence_clamp),
    ),
    "small": CONFIG,
}
PHRASE = "red apple"
_NEVER = 1_000_000  # frames
_IDLE_S = 0.004  # in which a thread that works is seen to


def pictures(config: ModelConfig, frames: int) -> npt.NDArray[np.uint8]:
    """(F, R, R, 3) blocks that drift."""
    floats = moving_blocks(frames, config.vision.image_size).clamp(-1, 1)
    return ((floats + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def peer(config: ModelConfig, objects: int) -> Any:
    """Their model, which follows so many objects."""
    return hf_video_model(
        "present",
        3,
        True,
        config,
        score_threshold_detection=0.0,
        new_det_thresh=0.0,
        assoc_iou_thresh=1.0,
        hotstart_delay=0,
        hotstart_unmatch_thresh=0,
        hotstart_dup_thresh=0,
        max_num_objects=objects,
        recondition_every_nth_frame=_NEVER,
    )


def our_frames(model: Any, config: ModelConfig, objects: int, video: npt.NDArray[np.uint8]) -> Iterator[int]:
    """Passes the video, and says after each frame how many objects are followed."""
    policy = replace(
        VideoPolicy.as_transformers(),
        detection_score=0.0,
        birth_score=0.0,
        near_iou=1.0,
        hotstart_delay=0,
        unmatched_frames=0,
        shared_detections=0,
        max_masklets=objects,
        recondition_every=0,
    )
    assert config.tracker is not None
    rules = TrackerPolicy.as_transformers(config.tracker)
    with VideoPredictor(ours_of(model, config), policy=policy, tracker_policy=rules).open(video) as opened:
        opened.add_concept(PHRASE)
        for result in opened.propagate(pixels=False):
            yield result.followed


def their_frames(model: Any, config: ModelConfig, video: npt.NDArray[np.uint8]) -> Iterator[int]:
    """The same by transformers."""
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

    pixels: Tensor = (torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    height, width = pixels.shape[-2:]
    session = Sam3VideoInferenceSession(video=pixels, video_height=height, video_width=width, dtype=torch.float32)
    number = session.add_prompt(PHRASE)
    token_ids = Tokenizer(config.text.context, config.text.merges)([PHRASE])
    session.prompt_input_ids[number] = token_ids
    session.prompt_attention_masks[number] = (token_ids != 0).long()
    for found in model.propagate_in_video_iterator(session, start_frame_idx=0):
        yield len(found.obj_id_to_mask)


def settle() -> None:
    """Waits until no thread works."""
    before = -1.0
    while time.process_time() - before > _IDLE_S / 4:
        before = time.process_time()
        time.sleep(_IDLE_S)


def pair_of(config: ModelConfig, objects: int, frames: int, warm_up: int, repeats: int) -> Pair:
    """Both with so many objects, `repeats` frames a call, behind the first frames of a video."""
    model, video = peer(config, objects), pictures(config, frames)
    ours, theirs = our_frames(model, config, objects, video), their_frames(model, config, video)
    for _ in range(warm_up - 1):
        next(ours)
        next(theirs)
    counts = next(ours), next(theirs)
    if set(counts) != {objects}:
        sys.exit(f"error: expected {objects} objects on both sides after {warm_up} frames, got {counts}")

    def our_turn() -> None:
        for _ in range(repeats):
            next(ours)
        settle()

    def their_turn() -> None:
        for _ in range(repeats):
            next(theirs)

    settle()
    return Pair(f"{objects} objects", our_turn, their_turn, repeats=repeats)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--size", choices=SIZES, default="default", help="of the model (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=17, help="frames before the clock starts (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=6, help="in a turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, default=60, help="for each line, once it had its least turns")
    parser.add_argument("--least", type=int, default=3, help="least turns of a line (default: %(default)s)")
    parser.add_argument("--most", type=int, default=5, help="most turns of a line (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    parser.set_defaults(match="")  # every line is run
    arguments = parser.parse_args(words)
    warm_up, config = arguments.warm_up, SIZES[arguments.size]
    if warm_up < 1:
        parser.error(f"--warm-up must be 1 or more, got {warm_up}")
    turns = max(arguments.least, arguments.most) + 1  # the first one may be a warm-up, too
    frames = warm_up + turns * arguments.frames
    # Else it says on every frame that there is no room for more objects.
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        pairs = (pair_of(config, objects, frames, warm_up, arguments.frames) for objects in arguments.objects)
        found = run(pairs, f"a frame, float32, threads: {arguments.threads}", arguments)
    if arguments.record:
        setting = {"preset": arguments.size, "dtype": "float32", "threads": arguments.threads, "warm_up": warm_up}
        setting["frames"] = arguments.frames
        record(found, benchmark="video_speed", **setting)


if __name__ == "__main__":
    main()
