"""A run over many files: bad ones are told, finished ones are not done again, nothing is ever half written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from confident import picture
from masklet.errors import ImageError, OutputError
from masklet.inference.frame_result import FrameResult
from masklet.inference.picture_run import FINISHED_FILE, Outcome, file_stamp, run_pictures, write_annotations
from masklet.media.find_images import FoundImage, find_images
from masklet.media.images import Pixels
from masklet.ops.masks import encode_rle

SETTINGS = {"concepts": ["dog", "a cat"], "threshold": 0.5}


class Asked:
    """Finds the left half of every picture, once as a dog and never as a cat; remembers the sizes it was asked for."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, pixels: Pixels) -> Sequence[FrameResult]:
        self.sizes.append(pixels.shape[:2])
        height, width = pixels.shape[:2]
        left = np.zeros((height, width), dtype=bool)
        left[:, : width // 2] = True
        return [self.result("dog", [encode_rle(left)["counts"]], pixels), self.result("a cat", [], pixels)]

    @staticmethod
    def result(concept: str, counts: list[str], pixels: Pixels) -> FrameResult:
        height, width = pixels.shape[:2]
        return FrameResult(
            image="image",
            image_size_hw=(height, width),
            concept=concept,
            presence=0.75,
            model="fake",
            scores=np.full(len(counts), 0.5, dtype=np.float32),
            boxes_xyxy=np.tile(np.array([0, 0, width / 2, height], dtype=np.float32), (len(counts), 1)),
            mask_counts=tuple(counts),
            source=pixels,
        )


@pytest.fixture
def pictures(tmp_path: Path) -> list[FoundImage]:
    (tmp_path / "in/deep").mkdir(parents=True)
    for k, name in enumerate(("a.png", "deep/b.png", "c.png")):
        Image.fromarray(picture(20 + k, 30 + k, k)).save(tmp_path / "in" / name)
    return find_images([tmp_path / "in"])


def run(pictures: list[FoundImage], ask: Asked, out: Path | None, **options: object) -> list[Outcome]:
    return list(run_pictures(pictures, ask, out=out, settings=SETTINGS, **options))  # type: ignore[arg-type]


def test_results_lie_where_they_are_said_to(pictures: list[FoundImage], tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcomes = run(pictures, Asked(), out)
    assert [outcome.picture.name for outcome in outcomes] == ["a", "c", "deep/b"]
    for outcome in outcomes:
        assert outcome.error is None
        assert not outcome.resumed
        assert [document["concept"] for document in outcome.documents] == ["dog", "a cat"]
        for document, folder in zip(outcome.documents, outcome.folders, strict=True):
            assert folder.parent == out / outcome.picture.name
            assert json.loads((folder / "result.json").read_text()) == document
            assert document["image"] == str(outcome.picture.path)
            assert (folder / "overlay.png").is_file()
        assert (out / outcome.picture.name / "overlay.png").is_file()
    write_annotations((folder for outcome in outcomes for folder in outcome.folders), out)
    coco = json.loads((out / "annotations.json").read_text())
    assert (len(coco["images"]), len(coco["categories"]), len(coco["annotations"])) == (3, 2, 3)
    assert not [path for path in out.rglob("*") if ".partial" in path.name or ".old" in path.name]


def test_without_a_folder_nothing_is_written(pictures: list[FoundImage], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    outcomes = run(pictures, Asked(), None)
    assert [len(outcome.documents) for outcome in outcomes] == [2, 2, 2]
    assert all(not outcome.folders for outcome in outcomes)
    assert sorted(tmp_path.rglob("*")) == before
    assert run([], Asked(), tmp_path / "out") == []


def test_a_run_goes_on_where_it_was_cut(pictures: list[FoundImage], tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = run(pictures, Asked(), tmp_path / "whole")
    outcomes = run_pictures(pictures, Asked(), out=out, settings=SETTINGS)
    next(outcomes)
    outcomes.close()  # cut
    second = Asked()
    rest = run(pictures, second, out)
    assert [outcome.resumed for outcome in rest] == [True, False, False]
    assert len(second.sizes) == 2
    assert [outcome.documents for outcome in rest] == [outcome.documents for outcome in whole]
    third = Asked()
    assert all(outcome.resumed for outcome in run(pictures, third, out))
    assert third.sizes == []
    run(pictures, third, out, resume=False)
    assert len(third.sizes) == 3


def test_a_cut_while_writing_leaves_the_picture_unfinished(
    pictures: list[FoundImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(pictures, Asked(), out)
    saved: list[str] = []
    save = FrameResult.save

    def cut(result: FrameResult, *args: object, **kwargs: object) -> Path:
        saved.append(result.concept)
        if len(saved) == 2:
            raise KeyboardInterrupt
        return save(result, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FrameResult, "save", cut)
        run(pictures[:1], Asked(), out, resume=False)
    again = Asked()
    assert [outcome.resumed for outcome in run(pictures, again, out)] == [False, True, True]


@pytest.mark.parametrize("change", ["settings", "picture", "result", "mark", "mark of another kind"])
def test_what_changed_is_done_again(pictures: list[FoundImage], tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    outcomes = run(pictures, Asked(), out)
    settings, mark = dict(SETTINGS), out / "a" / FINISHED_FILE
    if change == "settings":
        settings["threshold"] = 0.4
    elif change == "picture":
        Image.fromarray(picture(20, 30, 9)).save(pictures[0].path)
        os.utime(pictures[0].path, ns=(1, 1))
    elif change == "result":
        shutil.rmtree(outcomes[0].folders[1])
    elif change == "mark":
        mark.write_text(mark.read_text()[:20])
    else:
        mark.write_text("[]")
    again = Asked()
    resumed = [outcome.resumed for outcome in run_pictures(pictures, again, out=out, settings=settings)]
    assert resumed == ([False] * 3 if change == "settings" else [False, True, True])


def test_a_bad_picture_never_stops_the_rest(pictures: list[FoundImage], tmp_path: Path) -> None:
    pictures[1].path.write_bytes(b"no picture")

    class Failing(Asked):
        def __call__(self, pixels: Pixels) -> Sequence[FrameResult]:
            if pixels.shape[0] == 20:
                raise MemoryError
            return super().__call__(pixels)

    outcomes = run([*pictures, FoundImage(tmp_path / "missing.png", "missing")], Failing(), tmp_path / "out")
    assert [type(outcome.error) for outcome in outcomes] == [MemoryError, ImageError, type(None), ImageError]
    assert [len(outcome.documents) for outcome in outcomes] == [0, 0, 2, 0]


def test_a_picture_over_the_limit_fails(pictures: list[FoundImage]) -> None:
    outcomes = run(pictures, Asked(), None, max_pixels=20 * 30)
    assert [outcome.error is None for outcome in outcomes] == [True, False, False]


def test_no_place_for_results_stops_the_run(pictures: list[FoundImage], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        run(pictures, Asked(), tmp_path / "out")


def test_a_full_disk_keeps_what_was_finished(
    pictures: list[FoundImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    room = [7]  # files that fit
    save = Image.Image.save

    def limited(image: Image.Image, *args: object, **kwargs: object) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        save(image, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left on device"):
        patch.setattr(Image.Image, "save", limited)
        run(pictures, Asked(), out)
    assert not [path for path in out.rglob("*") if ".partial" in path.name]
    assert [outcome.resumed for outcome in run(pictures, Asked(), out)] == [True, False, False]


def test_stamps_tell_files_apart(tmp_path: Path) -> None:
    (tmp_path / "model/part").mkdir(parents=True)
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/part/weights").write_text("123")
    stamp = file_stamp(tmp_path / "model")
    assert len(stamp) == 2
    assert stamp == file_stamp(tmp_path / "model")
    (tmp_path / "model/part/weights").write_text("1234")
    assert stamp != file_stamp(tmp_path / "model")
