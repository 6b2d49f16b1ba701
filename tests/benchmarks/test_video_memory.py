"""Peak memory of films: short ones, followed by a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import record
import video_memory

from masklet.checkpoint import save_native
from masklet.config import TEST
from masklet.inference.frame_lines import read_results
from masklet.media.video import open_video
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, make_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_native(video_memory.model_for("crowd", build_model("test", seed=0)), path)
    return path


def test_random_weights_stand_in_for_a_tracker_that_is_not_there() -> None:
    with_tracker = build_model("test", seed=0)
    assert video_memory.model_for("few", with_tracker) is with_tracker
    without = build_model(replace(TEST, tracker=None), seed=0)
    assert without.tracker is None
    assert video_memory.model_for("few", without).config == TEST


def write_film(path: Path, sheet: SpriteSheet, frames: int) -> Path:
    clip, _ = make_clip(EVALUATION, 0, video_memory.SIZE_HW, 6, kind="gentle", sheet=sheet)
    video_memory.write_film(path, clip, frames)
    return path


def test_a_film_goes_there_and_back(sheet: SpriteSheet, tmp_path: Path) -> None:
    with open_video(write_film(tmp_path / "film.mp4", sheet, 23)) as film:
        frames = [film.frame(k).pixels.astype(int) for k in range(23)]
    # The same frame of the clip, coded twice: nearer to each other than to the one before.
    for first, again in ((4, 6), (0, 10), (1, 11), (3, 17)):
        assert abs(frames[first] - frames[again]).mean() < abs(frames[first] - frames[first + 1]).mean()


def test_a_crowd_comes_and_goes(sheet: SpriteSheet, model: Path, tmp_path: Path) -> None:
    frames = 46
    film = write_film(tmp_path / "film.mp4", sheet, frames)
    found = video_memory.follow_crowd(film, tmp_path / "out", model, None)
    # Not every detection begins an object (some lie on one that is there); each goes after at most 15 frames. Of those
    # whose masks are given five are there at a time.
    assert found["objects"] > frames / 2 and found["at_once"] <= 15 + 5 + 1
    results = list(read_results(tmp_path / "out/frames.jsonl"))
    assert len(results) == frames and (tmp_path / "out/overlay.mp4").exists()
    given = [dict(zip(result.concepts, result.object_ids.tolist(), strict=True)).get("") for result in results]
    assert given[:15] == [None] * 15 and given[15] is not None
    seen = [given[15] in result.object_ids for result in results]
    assert seen[15] and not any(seen[26:])


def test_processes_of_their_own_and_the_record(
    sheet: SpriteSheet,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "results.jsonl"
    monkeypatch.setattr(record, "RESULTS", log)
    words = ["--model", str(model), "--frames", "6", "--short", "3", "--ways", "few", "--record"]
    video_memory.main(words, sheet)
    (line,) = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert line["benchmark"] == "video_memory" and line["way"] == "few" and line["model"] == "test"
    short, long = line["short"], line["long"]
    assert (short["frames"], long["frames"]) == (3, 6)
    for run in (short, long):
        assert 0 < run["own"] < run["peak"] < 3000 and run["at_once"] <= run["objects"]
    assert line["ratio"] == pytest.approx(long["peak"] / short["peak"], abs=1e-3)
    printed = capsys.readouterr().out
    assert "long / short" in printed and str(tmp_path) not in printed + json.dumps(line)


def test_a_long_film_is_longer(sheet: SpriteSheet, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        video_memory.main(["--frames", "10", "--short", "10"], sheet)
    assert "less than --frames" in capsys.readouterr().err
