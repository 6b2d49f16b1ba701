"""Data sets as sequences; masks of pictures; pixels and masks together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_readers.label_cases import SIZE_HW, rectangle, save_mask, save_picture
from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.decode import decode
from masklet.data.segmentation import MaskFile, Polygons
from masklet.errors import DataError, ImageError, InputError
from masklet.ops.masks import decode_rle


def picture(path: Path, **changes: object) -> LabelledPicture:
    values = {
        "path": path,
        "size_hw": SIZE_HW,
        "instances": (
            Instance(box_xyxy=(2, 3, 9, 20), segmentation=Polygons(parts=(rectangle(2, 3, 9, 20),)), id="a"),
            Instance(box_xyxy=(1, 1, 4, 5), id="b"),
        ),
        "prompts": (Prompt(phrase="cat", instance_idx=(0, 1)), Prompt(phrase="dog")),
    }
    return LabelledPicture(**(values | changes))  # type: ignore[arg-type]


def dataset(*pictures: LabelledPicture) -> Dataset:
    return Dataset(pictures=pictures, source=Path("set"), format="coco", vocabulary=("dog", "cat", "tram"))


def test_a_data_set_is_a_sequence() -> None:
    one, two = picture(Path("1.jpg")), picture(Path("2.jpg"))
    both = dataset(one, two)
    assert len(both) == 2 and list(both) == [one, two] and both[-1] is two and one in both
    assert both[1:] == dataset(two)
    assert len(dataset()) == 0


def test_some_phrases_only() -> None:
    chosen = dataset(picture(Path("1.jpg"))).only(["tram", "cat"])
    assert chosen.vocabulary == ("cat", "tram")
    assert [prompt.phrase for prompt in chosen[0].prompts] == ["cat"]
    assert len(chosen[0].instances) == 2
    with pytest.raises(InputError, match="'dog', 'cat', 'tram'; got 'Dog'"):
        dataset().only(["cat", "Dog"])


def test_masks_of_a_picture_read_a_mask_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_mask(tmp_path / "mask.png", [(1, (2, 3, 9, 20)), (4, (30, 1, 47, 5))])
    instances = tuple(Instance(box_xyxy=(0, 0, 1, 1), segmentation=MaskFile(path=path, value=v)) for v in (4, 1, 4))
    labelled = picture(tmp_path / "1.jpg", instances=instances)
    opened = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: (opened.append(self), real_open(self, *args))[1])
    codes = labelled.rles()
    assert opened == [path]
    assert [decode_rle(code).sum() for code in codes if code] == [68, 119, 68]
    assert codes == [instance.rle(SIZE_HW) for instance in instances]


def test_a_damaged_mask_names_picture_and_instance() -> None:
    wrong = Instance(box_xyxy=(0, 0, 1, 1), segmentation=Polygons(parts=([1.0, float("nan")],)), id="17")
    with pytest.raises(DataError, match=r"1\.jpg, instance 17: expected corners"):
        picture(Path("1.jpg"), instances=(wrong,)).rles()


def test_pixels_and_masks(tmp_path: Path) -> None:
    decoded = decode(picture(save_picture(tmp_path / "1.png")))
    assert decoded.image.shape == (*SIZE_HW, 3) and decoded.image[0, 0].tolist() == [40, 90, 160]
    assert decoded.masks.shape == (2, *SIZE_HW)
    assert decoded.masks_valid.tolist() == [True, False]
    assert decoded.masks[0].sum() == 7 * 17 and decoded.masks[0, 3:20, 2:9].all()
    assert not decoded.masks[1].any()


def test_a_picture_without_instances(tmp_path: Path) -> None:
    decoded = decode(picture(save_picture(tmp_path / "1.png"), instances=(), prompts=()))
    assert decoded.masks.shape == (0, *SIZE_HW) and decoded.masks_valid.shape == (0,)


def test_labels_decide_whether_a_picture_is_turned(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "1.jpg", SIZE_HW, orientation=6)
    for size_hw in (SIZE_HW, SIZE_HW[::-1]):
        decoded = decode(picture(path, size_hw=size_hw))
        assert decoded.image.shape[:2] == decoded.masks.shape[1:] == size_hw
    other = SIZE_HW[0], SIZE_HW[1] + 1
    with pytest.raises(DataError, match=r"expected height and width \(31, 48\)"):
        decode(picture(path, size_hw=other))
    with pytest.raises(ImageError, match="no such file"):
        decode(picture(tmp_path / "none.jpg"))


def test_half_turns_follow_the_viewer(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "1.png", SIZE_HW, orientation=3)
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
        exif = image.getexif()
    pixels[0, 0] = (255, 0, 0)
    Image.fromarray(pixels).save(path, exif=exif)
    assert decode(picture(path)).image[-1, -1].tolist() == [255, 0, 0]
