"""`masklet track`: what is named or shown in a video, followed, to files or as JSON lines."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.long_work import check_folder, loaded_model, progress_bar
from masklet.cli.messages import counted, say
from masklet.cli.track_prompts import TrackPrompts, track_prompts
from masklet.cli.values import BOX, POINT, check_fractions, refuse

if TYPE_CHECKING:
    from masklet.inference.open_video import OpenVideo
    from masklet.inference.video_result import VideoResult
    from masklet.media.span import Span


class DirectionName(StrEnum):
    """Which way through the video."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"


def track(
    video: Annotated[
        str,
        typer.Argument(
            help="A film, a folder of frames, - or raw:WxH for what comes through a pipe, camera:0.", metavar="VIDEO"
        ),
    ],
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", metavar="TEXT", help="What to follow; may be repeated.")
    ] = None,
    exemplar: Annotated[
        list[str] | None,
        typer.Option(
            "--exemplar", metavar=f"FRAME:{BOX}[,LABEL]", help="An example on a frame (LABEL 0: not like it)."
        ),
    ] = None,
    click: Annotated[
        list[str] | None,
        typer.Option("--click", metavar=f"FRAME:ID:{POINT}[,LABEL]", help="A place on object ID; LABEL 0: not on it."),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option("--box", metavar=f"FRAME:ID:{BOX}", help="Where object ID is on a frame.")
    ] = None,
    start: Annotated[
        str, typer.Option("--start", metavar="PLACE", help="First frame: a number (120) or a time (4.5s, 1:30).")
    ] = "0",
    end: Annotated[
        str | None, typer.Option("--end", metavar="PLACE", help="Frame before which to stop. [the end]")
    ] = None,
    every: Annotated[str, typer.Option("--every", metavar="STEP", help="Each n-th frame, or one every 0.5s.")] = "1",
    direction: Annotated[
        DirectionName, typer.Option("--direction", help="Both: from what is shown on, then back from there.")
    ] = DirectionName.FORWARD,
    threshold: Annotated[
        list[float] | None,
        typer.Option("--threshold", metavar="T", help="Least score of what is found; once, or for each -c. [0.5]"),
    ] = None,
    birth_threshold: Annotated[
        float | None, typer.Option("--birth-threshold", metavar="T", help="Least score of a new object. [0.7]")
    ] = None,
    max_objects: Annotated[
        int | None, typer.Option("--max-objects", min=1, metavar="N", help="Follow N at a time, the best. [10000]")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="FPS", help="Of frames that have no times of their own. [30]")
    ] = None,
    model: options.Model = "default",
    image_size: options.ImageSize = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    out: options.Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per frame.")] = False,
    film: Annotated[
        bool, typer.Option("--film/--no-film", help="Write the video with the objects drawn on it.")
    ] = True,
    masks: Annotated[bool, typer.Option("--masks", help="Also write a picture of each mask.")] = False,
    mot: Annotated[bool, typer.Option("--mot", help="Also write mot.txt, as the MOT Challenge has it.")] = False,
    vis: Annotated[bool, typer.Option("--vis", help="Also write youtube_vis.json, COCO for videos.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
) -> None:
    """Find everything that you name in a video, and follow it.

    Each object has a number that lasts. Results go to OUT/VIDEO: frames.jsonl with boxes and masks, overlay.mp4. The
    same line with --resume goes on after an interruption.
    """
    # Imported here: help needs none of it.
    from masklet.inference.policy import VideoPolicy
    from masklet.inference.video_predictor import VideoPredictor
    from masklet.inference.video_run import Wanted, run_video

    prompts = track_prompts(concept or (), threshold or (), exemplar or (), click or (), box or ())
    check_fractions([] if birth_threshold is None else [birth_threshold], "--birth-threshold")
    if as_json and out is None:
        refuse({"--masks": masks, "--mot": mot, "--vis": vis, "--resume": resume}, "with --json it needs --out.")
    folder = None if as_json and out is None else (out or Path("out")) / _name_of(video)
    if folder is not None:
        check_folder(folder.parent)
    span = _span(start, end, every)
    limits = {"birth_score": birth_threshold, "max_masklets": max_objects}
    network, settings = loaded_model(model, device, dtype)
    own = {name: value for name, value in limits.items() if value is not None}
    policy = replace(VideoPolicy.of(network.config), **own)  # type: ignore[arg-type]
    settings |= {"prompts": repr(prompts), "policy": repr(policy), "span": repr(span), "image_size": image_size}
    settings |= {"direction": direction.value, "video": _stamp(video), "rate": rate}
    predictor = VideoPredictor(network, policy=policy)
    with predictor.open(video, span=span, rate=rate, image_size=image_size) as opened:
        if folder is None:
            prompts.give(opened)
            results = opened.propagate(direction=direction.value, pixels=False)
        else:
            results = run_video(
                opened,
                prompts.give,
                folder=folder,
                wanted=Wanted(film=film, masks=masks, mot=mot, coco=vis),
                settings=settings,
                direction=direction.value,
                resume=resume,
            )
        _report(opened, results, prompts, folder, as_json=as_json)


def _span(start: str, end: str | None, every: str) -> Span:
    from masklet.media.span import Span, parse_place

    return Span(
        start=parse_place("--start", start),
        end=None if end is None else parse_place("--end", end),
        every=parse_place("--every", every),
    )


def _name_of(video: str) -> str:
    """What the folder of a video's results is called: clip for films/clip.mp4, stdin for -, camera-0."""
    if video == "-":
        return "stdin"
    path = Path(video)
    name = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[:\\]", "-", name) or "video"


def _stamp(video: str) -> list[Any]:
    from masklet.inference.picture_run import file_stamp

    path = Path(video).expanduser()
    return file_stamp(path) if path.exists() else []


# --- what the user sees -----------------------------------------------------------------------------------------------


def _report(
    video: OpenVideo,
    results: Generator[VideoResult, None, None],
    prompts: TrackPrompts,
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    """Goes through the results, and says how it went."""
    begun, frames = time.perf_counter(), 0
    seen: dict[int, str] = {}  # object and its concept
    try:
        with closing(results), progress_bar(video.frame_count, as_json=as_json) as advance:
            for result in results:
                frames += 1
                seen |= zip(result.object_ids.tolist(), result.concepts, strict=True)
                if as_json:
                    sys.stdout.write(f"{result.to_json()}\n")
                    sys.stdout.flush()
                advance(f"{len(seen)} objects")
    except KeyboardInterrupt:
        can_go_on = folder is not None and video.frame_count is not None
        hint = "; the same line with --resume goes on from there" if can_go_on else ""
        say(f"stopped after {counted(frames, 'frame')}{hint}", "note")
        raise
    if as_json:
        return
    sys.stdout.write(f"{video.name}: {_sentence(prompts.concepts, seen.values())}\n")
    seconds = time.perf_counter() - begun
    sys.stderr.write(
        f"{counted(frames, 'frame')}, {counted(len(seen), 'object')} in {seconds:.1f} s; results are in {folder}\n"
    )


def _sentence(asked: Iterable[str], found: Iterable[str]) -> str:
    """`3 x red car, no dog, 1 x object`."""
    names = [concept or "object" for concept in found]
    return ", ".join(
        f"{names.count(concept)} x {concept}" if concept in names else f"no {concept}"
        for concept in dict.fromkeys((*asked, *names))
    )
