"""`masklet track`: what it prints and writes, and how it goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import wave
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from command import COMMAND, Verb, on_terminal
from film_cases import write_film
from follow_cases import clip, model_file
from masklet import Exemplar, VideoPredictor, load_model
from masklet.checkpoint import save_native
from masklet.config import TEST, SelectionConfig
from masklet.inference.policy import VideoPolicy
from masklet.media.span import Seconds, Span
from masklet.model.build import build_model

SCHEMA = json.loads(files("masklet.inference").joinpath("frame.schema.json").read_text(encoding="utf-8"))
LOW = ["--threshold", "0.02", "--birth-threshold", "0.02", "--max-objects", "4"]
POLICY = VideoPolicy(birth_score=0.02, max_masklets=4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_file(tmp_path_factory.mktemp("model"))


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film; the test stands beside it."""
    monkeypatch.chdir(tmp_path)
    return write_film(Path("clip.mp4"), frames=clip(), size_wh=(90, 60))


class Track(Verb):
    """`masklet track`, and the same in Python."""

    def predictor(self, policy: VideoPolicy | None = None) -> VideoPredictor:
        """Of the same file: weights that lie elsewhere in memory are multiplied in another order."""
        return VideoPredictor(load_model(self.weights, dtype="float32"), policy=policy)


@pytest.fixture
def track(capsys: pytest.CaptureFixture[str], weights: Path) -> Track:
    return Track("track", capsys, weights)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def numbers(documents: list[dict[str, Any]]) -> list[int]:
    return [document["frame_idx"] for document in documents]


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_files_a_sentence_and_a_summary(track: Track, film: Path) -> None:
    code, out, err = track(film, "-c", "dog", "-c", "red bus", "--threshold", "0.02", "--threshold", "1", *LOW[2:])
    assert code == 0
    assert out == "clip.mp4: 4 x dog, no red bus\n"
    assert err.startswith("12 frames, 4 objects in ")
    assert err.endswith(" s; results are in out/clip\n")
    assert {path.name for path in Path("out/clip").iterdir()} == {"frames.jsonl", "overlay.mp4", ".finished.json"}
    documents = lines(Path("out/clip/frames.jsonl").read_text())
    assert numbers(documents) == list(range(12))
    for document in documents:
        jsonschema.validate(document, SCHEMA)


def test_the_same_as_in_python(track: Track, film: Path) -> None:
    code, out, err = track(film, "-c", "dog", *LOW, "--json")
    assert (code, err) == (0, "")
    with track.predictor(POLICY).open(film) as video:
        video.add_concept("dog", threshold=0.02)
        expected = [result.to_dict() for result in video.propagate(pixels=False)]
    assert lines(out) == expected
    assert not Path("out").exists()


def test_limits_leave_the_other_rules_of_the_model(capsys: pytest.CaptureFixture[str], film: Path) -> None:
    selection = SelectionConfig(detections_lead=True, masks_compete=True)
    network = build_model(replace(TEST, selection=selection), seed=3)
    save_native(network, Path("own.safetensors"))
    track = Track("track", capsys, Path("own.safetensors"))
    code, out, _ = track(film, "-c", "dog", *LOW, "--json")
    rules = replace(VideoPolicy.of(network.config), birth_score=0.02, max_masklets=4)
    assert code == 0 and rules.recondition_every == 1
    with track.predictor(rules).open(film) as video:
        video.add_concept("dog", threshold=0.02)
        assert lines(out) == [result.to_dict() for result in video.propagate(pixels=False)]
    with track.predictor(POLICY).open(film) as video:
        video.add_concept("dog", threshold=0.02)
        assert lines(out) != [result.to_dict() for result in video.propagate(pixels=False)]


def test_json_with_files(track: Track, film: Path) -> None:
    code, out, err = track(
        film, "-c", "dog", *LOW, "--json", "--out", "found", "--no-film", "--masks", "--mot", "--vis"
    )
    assert (code, err) == (0, "")
    assert Path("found/clip/frames.jsonl").read_text() == out
    names = {path.name for path in Path("found/clip").iterdir()}
    assert names == {"frames.jsonl", "masks", "mot.txt", "youtube_vis.json", ".finished.json"}


@pytest.mark.parametrize(
    ("options", "span"),
    [
        (["--start", "3", "--end", "8"], Span(start=3, end=8)),
        (["--every", "3"], Span(every=3)),
        (["--start", "0.2s", "--end", "0:0.4"], Span(start=Seconds(0.2), end=Seconds(0.4))),
        (["--every", "0.1s"], Span(every=Seconds(0.1))),
    ],
)
def test_spans(track: Track, film: Path, options: list[str], span: Span) -> None:
    code, out, _ = track(film, "-c", "dog", "--json", *options)
    assert code == 0
    assert numbers(lines(out)) == span.indices([k / 25 for k in range(12)])


def test_what_is_shown(track: Track, film: Path) -> None:
    """Clicks of one object on one frame go together, with its box; exemplars belong to the concepts, or to none."""
    shown = ["--click", "2:7:40,30", "--click", "2:7:5,5,0", "--box", "2:7:10,10,70,50", "--click", "4:3:50,20"]
    code, out, _ = track(film, *shown, "--json")
    assert code == 0
    with track.predictor().open(film) as video:
        video.click(2, [(40, 30), (5, 5)], [1, 0], box_xyxy=(10, 10, 70, 50), object_id=7)
        video.click(4, [(50, 20)], object_id=3)
        expected = [result.to_dict() for result in video.propagate(pixels=False)]
    assert lines(out) == expected
    assert numbers(expected) == list(range(2, 12))

    for concepts in ([], ["dog", "cat"]):
        named = [word for concept in concepts for word in ("-c", concept)]
        code, out, _ = track(film, *named, "--exemplar", "3:10,10,60,50", *LOW, "--json", "--direction", "both")
        assert code == 0
        with track.predictor(POLICY).open(film) as video:
            for concept in concepts:
                video.add_exemplar(3, Exemplar((10, 10, 60, 50)), concept=video.add_concept(concept, threshold=0.02))
            if not concepts:
                video.add_exemplar(3, Exemplar((10, 10, 60, 50)), threshold=0.02)
            expected = [result.to_dict() for result in video.propagate(direction="both", pixels=False)]
        assert lines(out) == expected


def test_folders_pictures_and_other_sizes(track: Track, film: Path) -> None:
    Path("frames.d").mkdir()
    for number, frame in enumerate(clip(3)):
        Image.fromarray(frame).save(f"frames.d/{number}.png")
    code, out, err = track("frames.d", "-c", "dog", "--rate", "10", "--image-size", "56", "--no-film")
    assert (code, out) == (0, "frames.d: no dog\n")
    assert "out/frames.d" in err
    assert [one["time_s"] for one in lines(Path("out/frames.d/frames.jsonl").read_text())] == [0, 0.1, 0.2]
    code, out, _ = track("frames.d/1.png", "-c", "dog", "--json")  # one frame
    assert (code, numbers(lines(out))) == (0, [0])


def test_a_pipe(weights: Path, film: Path) -> None:
    arguments = ["track", "raw:90x60", "-c", "dog", "--rate", "10", "--json", "--model", str(weights)]
    done = subprocess.run([*COMMAND, *arguments], input=clip(5).tobytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [one["time_s"] for one in lines(done.stdout.decode())] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    write_film(Path("clip.mkv"), frames=clip(5), size_wh=(90, 60))
    arguments = ["track", "-", "-c", "dog", "--model", str(weights)]
    with Path("clip.mkv").open("rb") as file:
        done = subprocess.run([*COMMAND, *arguments], stdin=file, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "stdin: no dog\n")
    assert len(Path("out/stdin/frames.jsonl").read_text().splitlines()) == 5


# --- runs that are cut ------------------------------------------------------------------------------------------------


def test_ctrl_c_and_the_same_line_with_resume(track: Track, weights: Path, film: Path) -> None:
    film = write_film(Path("clip.mp4"), frames=clip(40), size_wh=(90, 60))  # long enough to be cut
    options = ["-c", "dog", *LOW, "--mot"]
    assert track(film, *options, "--out", "whole")[0] == 0
    process = subprocess.Popen(
        [*COMMAND, "track", str(film), *options, "--json", "--out", "cut", *track.chosen],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "masklet: note: stopped after " in err
    assert "the same line with --resume goes on from there" in err
    assert 0 < len(Path("cut/clip/frames.jsonl").read_text().splitlines()) < 40
    code, out, _ = track(film, *options, "--json", "--out", "cut", "--resume")
    assert code == 0
    for name in ("frames.jsonl", "mot.txt"):
        assert Path("cut/clip", name).read_bytes() == Path("whole/clip", name).read_bytes()
    assert out == Path("whole/clip/frames.jsonl").read_text()  # those found before are printed too
    code, _, err = track(film, *options, "--out", "cut", "--resume", "--end", "5")
    assert code == 1
    assert "expected a run of the same video with the same options" in err


# --- how it goes wrong ------------------------------------------------------------------------------------------------

USAGE: dict[str, tuple[list[str], str]] = {
    "nothing asked": ([], "say what to follow with -c TEXT, or show it"),
    "concept twice": (["-c", "dog", "-c", "dog"], "give every concept once"),
    "threshold": (["-c", "dog", "--threshold", "1.5"], "expected a number in 0..1, got 1.5"),
    "thresholds": (["-c", "dog", "--threshold", "0.5", "--threshold", "0.1"], "give it once, or for each of 1 concept"),
    "birth threshold": (["-c", "dog", "--birth-threshold", "nan"], "expected a number in 0..1, got nan"),
    "no objects": (["-c", "dog", "--max-objects", "0"], "--max-objects"),
    "click": (["--click", "3,4"], "expected FRAME:ID:X,Y[,LABEL], got '3,4'"),
    "click without identity": (["--click", "3:4,5"], "expected FRAME:ID:X,Y[,LABEL], got '3:4,5'"),
    "negative frame": (["--click", "-3:0:4,5"], "expected FRAME:ID:X,Y[,LABEL]"),
    "click of three": (["--click", "3:0:4,5,1,2"], "expected X,Y or X,Y,LABEL in pixels"),
    "label": (["--click", "3:0:4,5,2"], "LABEL is 1 on the object or 0 not on it"),
    "two boxes": (["--box", "3:0:1,1,9,9", "--box", "3:0:2,2,9,9"], "object 0 has a box on frame 3 already; give one"),
    "label of a box": (["--box", "3:0:1,1,9,9,0"], "a box shows an object; it has no LABEL"),
    "reversed exemplar": (["--exemplar", "3:9,1,1,9"], "3:9,1,1,9: "),
    "label of an exemplar": (["--exemplar", "3:1,1,9,9,7"], "label must be 1 (positive) or 0 (negative), got 7"),
    "direction": (["-c", "dog", "--direction", "up"], "up"),
    "masks nowhere": (["-c", "dog", "--json", "--masks"], "with --json it needs --out"),
    "resume nowhere": (["-c", "dog", "--json", "--resume"], "with --json it needs --out"),
}


@pytest.mark.parametrize(("options", "message"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_is_one_line_and_2(track: Track, film: Path, options: list[str], message: str) -> None:
    code, out, err = track(film, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not Path("out").exists()


FAILURES: dict[str, tuple[list[str], str]] = {
    "missing": (["nothing.mp4", "-c", "dog"], "nothing.mp4: expected a film, a folder of frames"),
    "no video stream": (["sound.wav", "-c", "dog"], "sound.wav: "),
    "empty": (["empty.mp4", "-c", "dog"], "empty.mp4: expected a film"),
    "empty folder": (["empty", "-c", "dog"], "empty: expected a folder with frames"),
    "sizes": (["sizes", "-c", "dog"], "frame 2: expected 90 x 60 pixels as the frames before, got 40 x 40"),
    "empty concept": (["clip.mp4", "-c", " "], "at least one visible character"),
    "no such frame": (["clip.mp4", "--click", "99:0:3,3"], "one of the 12 frames from 0 to 11 that are read, got 99"),
    "frame passed over": (
        ["clip.mp4", "--click", "3:0:3,3", "--every", "2"],
        "6 frames from 0 to 10 that are read, got 3",
    ),
    "exemplar nowhere": (["clip.mp4", "-c", "dog", "--exemplar", "12:1,1,9,9"], "from 0 to 11 that are read, got 12"),
    "click outside": (["clip.mp4", "--click", "3:0:300,3"], "300"),
    "span": (["clip.mp4", "-c", "dog", "--start", "soon"], "--start: expected a frame number (120) or a time"),
    "span after the end": (["clip.mp4", "-c", "dog", "--start", "50"], "expected frames from frame 50"),
    "span reversed": (["clip.mp4", "-c", "dog", "--start", "5", "--end", "2"], "expected a place after the start"),
    "rate of a film": (["clip.mp4", "-c", "dog", "--rate", "10"], "has times of its own"),
    "image size": (["clip.mp4", "-c", "dog", "--image-size", "85"], "multiple of the patch size 14, got 85"),
    "only negative": (["clip.mp4", "--exemplar", "3:1,1,9,9,0"], "begins with a positive exemplar"),
    "place of results": (["clip.mp4", "-c", "dog", "--out", "empty.mp4/out"], "empty.mp4/out: cannot be written"),
    "foreign folder": (["clip.mp4", "-c", "dog", "--out", "mine"], "mine/clip: expected a folder of an earlier run"),
    "no camera": (["camera:77", "-c", "dog"], "camera:77"),
    "raw": (["raw:90", "-c", "dog"], "raw:90: expected raw:WIDTHxHEIGHT"),
}


@pytest.mark.parametrize(("arguments", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_what_cannot_be_followed_is_one_line_and_1(
    track: Track, film: Path, arguments: list[str], message: str
) -> None:
    Path("empty.mp4").write_bytes(b"")
    for folder in ("empty", "sizes", "mine/clip"):
        Path(folder).mkdir(parents=True)
    Path("mine/clip/thesis.txt").write_text("mine")
    for number, frame in enumerate((clip(1)[0], clip(1)[0], clip(1, size_hw=(40, 40))[0])):
        Image.fromarray(frame).save(f"sizes/{number}.png")
    write_sound(Path("sound.wav"))
    code, out, err = track(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def write_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(np.zeros(8000, dtype=np.int16).tobytes())


def test_a_cut_film_and_missing_frames_are_told_and_the_rest_is_done(track: Track, film: Path) -> None:
    long = write_film(Path("long.mkv"), frames=clip(40), size_wh=(90, 60))
    Path("cut.mkv").write_bytes(long.read_bytes()[: long.stat().st_size * 2 // 3])
    code, out, err = track("cut.mkv", "-c", "dog", "--json")
    assert code == 0
    found = numbers(lines(out))
    assert found == list(range(len(found)))
    assert 5 < len(found) < 40
    assert "masklet: warning: cut.mkv: " in err

    Path("gaps").mkdir()
    for number in (1, 2, 3, 6, 7):
        Image.fromarray(clip(1)[0]).save(f"gaps/{number:03d}.png")
    code, out, err = track("gaps", "-c", "dog", "--json")
    assert (code, numbers(lines(out))) == (0, [0, 1, 2, 3, 4])
    assert "frames missing: 2, the first of them number 4" in err


def test_models_that_cannot_follow(track: Track, film: Path) -> None:
    save_native(build_model(replace(TEST, tracker=None, tracker_neck=False), seed=0), Path("still.safetensors"))
    code, out, err = track(film, "-c", "dog", "--model", "still.safetensors", model=False)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "has no tracker, so it cannot follow anything: load another" in err


def test_without_pyav(track: Track, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("frames").mkdir()
    Image.fromarray(clip(1)[0]).save("frames/0.png")
    monkeypatch.setitem(sys.modules, "av", None)
    for arguments in (["clip.mp4", "-c", "dog"], ["frames", "-c", "dog"]):  # the second for its film
        code, _, err = track(*arguments)
        assert (code, err.count("\n")) == (1, 1)
        assert "pip install 'masklet[video]'" in err
    assert track("frames", "-c", "dog", "--no-film")[0] == 0


# --- on a terminal ----------------------------------------------------------------------------------------------------


def test_a_bar_on_a_terminal_only(track: Track, film: Path) -> None:
    assert "12/12" in on_terminal("track", "clip.mp4", "-c", "dog", *track.chosen)
    assert "\x1b" not in "".join(track(film, "-c", "dog")[1:])


def test_help_fits_a_terminal_and_names_the_options(track: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = track("--help", model=False)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    options = ("concept", "exemplar", "click", "box", "start", "end", "every", "direction", "threshold")
    more = ("max-objects", "model", "device", "dtype", "image-size", "rate", "out", "json", "no-film", "masks")
    for option in (*options, *more, "mot", "vis", "resume"):
        assert f"--{option} " in out
