"""Several pictures at once: the same results in the same order, threads given back, errors at their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from confident import confident_model, picture
from masklet.errors import ImageError
from masklet.inference import side_by_side as module
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.side_by_side import side_by_side, workers_for
from masklet.inference.stages import timed_stages


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_while_others_are_worked_on(four_threads: None) -> None:
    meet = threading.Barrier(2, timeout=20)  # passed only if two are worked on at once
    threads = []

    def work(number: int) -> int:
        threads.append(torch.get_num_threads())
        meet.wait()
        return number * number

    assert list(side_by_side(work, range(6), 2)) == [0, 1, 4, 9, 16, 25]
    assert threads == [2] * 6
    assert torch.get_num_threads() == 4


def test_an_error_comes_at_its_turn_and_ends_the_rest(four_threads: None) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ImageError("no picture")
        return number

    found = []
    with pytest.raises(ImageError, match="no picture"):
        found.extend(side_by_side(work, range(100), 2))
    assert found == [0, 1]
    assert len(begun) < 10
    assert torch.get_num_threads() == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("masklet-picture")]


def test_items_are_taken_as_they_are_needed(four_threads: None) -> None:
    taken = []
    found = side_by_side(lambda number: number, (taken.append(k) or k for k in range(100)), 2)
    assert next(found) == 0
    assert len(taken) <= 4
    found.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("masklet-picture")]


def test_timed_work_is_done_one_by_one(four_threads: None) -> None:
    names = []
    with timed_stages():
        list(side_by_side(lambda _: names.append(threading.current_thread().name), range(3), 2))
    assert names == [threading.current_thread().name] * 3


def test_how_many_at_once(four_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = confident_model()
    assert workers_for(model) == 4
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 3 * model.config.vision.grid**2 * model.config.vision.width)
    assert workers_for(model) == 3
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 1)
    assert workers_for(model) == 1


def test_a_list_of_pictures_is_as_one_after_the_other(four_threads: None, tmp_path: Path) -> None:
    predictor = ImagePredictor(confident_model())
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture(40 + number, 50, number)).save(paths[-1])
    alone = [predictor.segment(path, ["dog", "a cat"]) for path in paths]
    together = predictor.segment(paths, ["dog", "a cat"])
    assert sum(len(result) for row in together for result in row) > 0
    for row, expected in zip(together, alone, strict=True):
        for result, other in zip(row, expected, strict=True):
            assert (result.image, result.concept) == (other.image, other.concept)
            assert result.scores == pytest.approx(other.scores, abs=1e-5)  # fewer threads cut sums elsewhere
            assert result.boxes_xyxy == pytest.approx(other.boxes_xyxy, abs=1e-3)
