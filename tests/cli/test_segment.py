"""`masklet segment`: what it prints and writes, and how it goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from command import COMMAND, Verb, on_terminal
from confident import confident_file, confident_model, picture
from masklet import Exemplar, FrameResult, ImagePredictor, InteractivePredictor, build_model, inference
from masklet.checkpoint import save_native
from masklet.config import TEST

SCHEMA = json.loads((Path(inference.__path__[0]) / "result.schema.json").read_text())


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return confident_file(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures and one below it; the test stands beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/more").mkdir(parents=True)
    for k, name in enumerate(("a.png", "b.png", "more/c.png")):
        Image.fromarray(picture(60 + k, 90 + k, k)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def segment(capsys: pytest.CaptureFixture[str], model_file: Path) -> Verb:
    return Verb("segment", capsys, model_file)


def documents(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def assert_same(document: dict[str, Any], result: FrameResult) -> None:
    """Equal but for rounding: weights that lie elsewhere in memory are multiplied in another order."""
    expected = result.to_dict()
    assert {**document, "presence": 0, "detections": 0} == {**expected, "presence": 0, "detections": 0}
    assert document["presence"] == pytest.approx(expected["presence"], abs=1e-5)
    assert len(document["detections"]) == len(expected["detections"])
    for mine, theirs in zip(document["detections"], expected["detections"], strict=True):
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)
        assert mine["box_xyxy"] == pytest.approx(theirs["box_xyxy"], abs=1e-2)
        assert mine["area"] == pytest.approx(theirs["area"], abs=10)  # pixels on the edge


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_a_line_for_each_picture_and_files_in_out(segment: Verb, photos: Path) -> None:
    code, out, err = segment("photos", "-c", "dog", "-c", "red bus", "--threshold", "0.23", "--threshold", "1")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["photos/a.png", "photos/b.png", "photos/more/c.png"]
    assert all(" x dog (best 0." in line and "no red bus (presence 0." in line for line in lines)
    assert err.startswith("3 pictures in ")
    assert err.endswith("results are in out\n")
    assert err.count("\n") == 1
    for name in ("a", "b", "more/c"):
        found = {path.name for path in (Path("out") / name / "dog").iterdir()}
        assert found == {"masks", "labels.png", "overlay.png", "result.json"}
    assert len(json.loads(Path("out/annotations.json").read_text())["images"]) == 3


def test_json_is_one_document_per_picture_and_concept_and_nothing_else(segment: Verb, photos: Path) -> None:
    before = sorted(photos.parent.rglob("*"))
    code, out, err = segment("photos/*.png", "-c", "dog", "-c", "狗 🚚", "--json")
    assert (code, err) == (0, "")
    found = documents(out)
    assert [(one["image"], one["concept"]) for one in found] == [
        (f"photos/{name}.png", concept) for name in "ab" for concept in ("dog", "狗 🚚")
    ]
    for one in found:
        jsonschema.validate(one, SCHEMA)
    assert found[0]["detections"]
    assert_same(found[0], ImagePredictor(confident_model()).segment("photos/a.png", "dog"))
    assert sorted(photos.parent.rglob("*")) == before  # nothing was written


def test_json_with_files(segment: Verb, photos: Path) -> None:
    code, first, err = segment("photos/a.png", "-c", "dog", "--json", "--out", "results")
    assert (code, err) == (0, "")
    assert json.loads(Path("results/a/dog/result.json").read_text()) == documents(first)[0]
    assert segment("photos/a.png", "-c", "dog", "--json", "--out", "results")[1] == first  # from the files


@pytest.mark.parametrize(
    ("options", "exemplars"),
    [
        (["--box", "10,20,40,55"], [Exemplar((10, 20, 40, 55))]),
        (["--box", "10,20,40,55,0"], [Exemplar((10, 20, 40, 55), False)]),
        (["--box", " 10, 20.5,40 ,55 ,1"], [Exemplar((10, 20.5, 40, 55))]),
        (["--point", "12,30"], [Exemplar.point((12, 30))]),
        (["--point", "12,30,0", "--box", "1,2,30,40"], [Exemplar((1, 2, 30, 40)), Exemplar.point((12, 30), False)]),
        (["--mask", "mask.png"], [Exemplar((10, 20, 40, 55))]),
    ],
)
@pytest.mark.parametrize("concept", ["dog", "visual"])
def test_exemplars(segment: Verb, photos: Path, options: list[str], exemplars: list[Exemplar], concept: str) -> None:
    save_mask("mask.png")
    code, out, err = segment("photos/a.png", *options, "--json", "-c", concept)
    assert (code, err) == (0, "")
    (found,) = documents(out)
    asked = None if concept == "visual" else concept  # which stands for examples alone
    assert_same(found, ImagePredictor(confident_model()).segment("photos/a.png", asked, exemplars=exemplars))


def save_mask(path: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The mask of a rectangle as a picture, and as an array."""
    mask = np.zeros((60, 90), dtype=np.uint8)
    mask[20:55, 10:40] = 1
    Image.fromarray(mask).save(path)
    return mask


def test_an_exemplar_from_another_picture(segment: Verb, photos: Path) -> None:
    code, out, _ = segment(
        "photos", "-c", "dog", "--box", "10,20,40,55", "--exemplar-from", "photos/a.png", "--json", "--image-size", "56"
    )
    assert code == 0
    predictor = ImagePredictor(confident_model())
    expected = predictor.segment(
        "photos/b.png", "dog", exemplars=[Exemplar((10, 20, 40, 55))], exemplar_image="photos/a.png", image_size=56
    )
    assert_same(documents(out)[1], expected)


def test_duplicates(segment: Verb, photos: Path) -> None:
    def counts(*options: str) -> list[int]:
        arguments = ["photos/a.png", "-c", "dog", "-c", "cat", "--threshold", "0", "--json"]
        return [len(one["detections"]) for one in documents(segment(*arguments, *options)[1])]

    within, across = counts("--nms", "0.3"), counts("--nms", "0.3", "--nms-across")
    assert counts() == counts("--nms", "1") == [12, 12]
    assert sum(across) < sum(within) < 24


def test_yolo(segment: Verb, photos: Path) -> None:
    assert segment("photos", "-c", "dog", "--yolo")[0] == 0
    assert sorted(path.name for path in Path("out/yolo/labels").rglob("*.txt")) == ["a.txt", "b.txt", "c.txt"]
    assert "dog" in Path("out/yolo/data.yaml").read_text()


def test_results_are_no_pictures_of_the_next_run(segment: Verb, photos: Path) -> None:
    for expected in (3, 3):
        code, out, _ = segment("photos", "-c", "dog", "--out", "photos/results")
        assert (code, len(out.splitlines())) == (0, expected)


# --- objects ----------------------------------------------------------------------------------------------------------

CLICKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "a point": (["--point", "12,30"], {"points": [(12, 30)]}),
    "points": (["--point", "12,30", "--point", "50.5,8,0"], {"points": [(12, 30), (50.5, 8)], "labels": [1, 0]}),
    "a box": (["--box", "10,20,40,55"], {"box": (10, 20, 40, 55)}),
    "a box and a point": (["--point", "12,30", "--box", "1,2,30,40,1"], {"points": [(12, 30)], "box": (1, 2, 30, 40)}),
    "a mask": (["--mask", "mask.png"], {"mask": True}),
    "all": (
        ["--mask", "mask.png", "--point", "12,30,0", "--box", "1,2,30,40"],
        {"mask": True, "points": [(12, 30)], "labels": [0], "box": (1, 2, 30, 40)},
    ),
}


@pytest.mark.parametrize("name", CLICKS)
def test_an_object_that_is_shown(segment: Verb, photos: Path, name: str) -> None:
    options, prompt = CLICKS[name]
    mask = save_mask("mask.png")
    if "mask" in prompt:
        prompt = prompt | {"mask": mask}
    code, out, err = segment("photos/a.png", *options, "--json")
    assert (code, err) == (0, "")
    (found,) = documents(out)
    jsonschema.validate(found, SCHEMA)
    assert found["concept"] == "object"
    expected = InteractivePredictor(confident_model()).segment("photos/a.png", **prompt)
    assert_same(found, expected.best)
    (all_found,) = documents(segment("photos/a.png", *options, "--json", "--candidates")[1])
    expected = InteractivePredictor(confident_model()).segment("photos/a.png", **prompt, candidates=True)
    assert len(all_found["detections"]) == 3
    assert_same(all_found, expected)


def test_several_boxes_are_an_object_each(segment: Verb, photos: Path) -> None:
    boxes = ["--box", "10,20,40,55", "--box", "50,5,80,30"]
    code, out, _ = segment("photos/a.png", *boxes, "--candidates")
    assert code == 0
    assert out.startswith("photos/a.png: 3 x object 1 (best 0.")
    assert "3 x object 2 (best 0." in out
    found = {path.relative_to("out/a").as_posix() for path in Path("out/a").rglob("*") if path.is_file()}
    files = ["result.json", "overlay.png", "labels.png", *(f"masks/00{k}.png" for k in range(3))]
    assert found == {"overlay.png", ".finished.json", *(f"object-{k}/{file}" for k in (1, 2) for file in files)}
    predictor = InteractivePredictor(confident_model())
    for k, box in enumerate([(10, 20, 40, 55), (50, 5, 80, 30)], start=1):
        document = json.loads(Path(f"out/a/object-{k}/result.json").read_text())
        assert_same(document, predictor.segment("photos/a.png", box=box, name=f"object {k}", candidates=True))
    assert len(json.loads(Path("out/annotations.json").read_text())["annotations"]) == 6


def test_everything(segment: Verb, photos: Path) -> None:
    options = ["--threshold", "0.5", "--nms", "0.6"]
    code, out, err = segment("photos/a.png", "--everything", *options, "--json")
    assert (code, err) == (0, "")
    (found,) = documents(out)
    jsonschema.validate(found, SCHEMA)
    predictor = InteractivePredictor(confident_model())
    assert_same(found, predictor.everything("photos/a.png", min_quality=0.5, nms_iou=0.6))
    assert found["concept"] == "everything"


def test_objects_are_done_again_only_if_the_question_is_another(segment: Verb, photos: Path) -> None:
    save_mask("mask.png")
    lines = [
        ["--point", "12,30"],
        ["--point", "12,30", "--candidates"],
        ["--point", "12,30,0"],
        ["--mask", "mask.png"],
        ["--box", "10,20,40,55"],
        ["--box", "10,20,40,55", "--image-size", "56"],
        ["--everything"],
        ["--everything", "--nms", "0.5"],
    ]
    for line in lines:
        assert "[done before]" not in segment("photos/a.png", *line)[1]
        assert "[done before]" in segment("photos/a.png", *line)[1]
    segment("photos/a.png", "--mask", "mask.png")
    Image.fromarray(np.eye(60, 90, dtype=np.uint8)).save("mask.png")  # another mask in a file of the same name
    assert "[done before]" not in segment("photos/a.png", "--mask", "mask.png")[1]


def test_a_point_outside_some_pictures(segment: Verb, photos: Path) -> None:
    Image.fromarray(picture(300, 400)).save(photos / "large.png")
    code, out, err = segment("photos/a.png", "photos/large.png", "--point", "200,100", "--json")
    assert code == 1
    assert [one["image"] for one in documents(out)] == ["photos/large.png"]
    assert err.startswith("masklet: error: photos/a.png: a point must lie in the picture of 90 x 60 pixels, got (200.0")


@pytest.mark.parametrize("options", [["--point", "12,30"], ["--box", "1,2,30,40"], ["--everything"]])
def test_a_model_that_cannot_be_clicked(segment: Verb, photos: Path, options: list[str]) -> None:
    save_native(build_model(replace(TEST, tracker=None), seed=0), Path("plain.safetensors"))
    code, out, err = segment("photos", *options, "--model", "plain.safetensors", model=False)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "clicks need a model with a tracker, which model 'test' has not" in err
    assert "-c visual" in err


# --- a run goes on ----------------------------------------------------------------------------------------------------


def test_finished_pictures_are_not_done_again(segment: Verb, photos: Path) -> None:
    first = segment("photos/a.png", "-c", "dog")[1]
    code, out, err = segment("photos", "-c", "dog")
    assert code == 0
    assert out.splitlines()[0] == first.splitlines()[0] + " [done before]"
    assert "[done before]" not in out.splitlines()[1]
    assert "3 pictures" in err
    assert "1 of them done before" in err
    assert "[done before]" not in segment("photos", "-c", "dog", "--again")[1]
    for change in (["--threshold", "0.3"], ["--box", "1,2,30,40"], ["--nms", "0.1"], ["--image-size", "56"]):
        assert "[done before]" not in segment("photos", "-c", "dog", *change)[1]


def test_ctrl_c_stops_and_the_same_line_goes_on(segment: Verb, photos: Path) -> None:
    for k in range(40):
        Image.fromarray(picture(30, 40, k)).save(photos / f"more/{k:02d}.png")
    line = [*COMMAND, "segment", "photos", "-c", "dog", *segment.chosen]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    done = 1 + rest.count("\n")
    assert err == f"masklet: note: stopped after {done} of 43 pictures; the same line goes on from there\n"
    found = list(Path("out").rglob("result.json"))
    assert len(found) in (done, done + 1)
    for path in found:
        jsonschema.validate(json.loads(path.read_text()), SCHEMA)
    assert not list(Path("out").rglob("*.partial"))
    again = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300)
    assert again.stdout.count("[done before]") in (done, done + 1)  # it may have been cut after writing
    assert again.stdout.splitlines()[0] == f"{first.strip()} [done before]"
    assert again.stdout.count("\n") == 43


# --- how it goes wrong ------------------------------------------------------------------------------------------------


def test_one_bad_file_is_reported_and_the_rest_are_done(segment: Verb, photos: Path) -> None:
    (photos / "b.png").write_bytes(b"no picture")
    code, out, err = segment("photos", "missing.jpg", "-c", "dog")
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["photos/a.png", "photos/more/c.png"]
    lines = err.splitlines()
    assert lines[0].startswith("masklet: error: photos/b.png: expected a picture")
    assert lines[1].startswith("masklet: error: missing.jpg: expected a picture, there is no such file")
    assert lines[-1] == "masklet: error: 2 of 4 pictures failed"
    assert len(json.loads(Path("out/annotations.json").read_text())["images"]) == 2


def test_an_exemplar_that_fits_some_pictures_only(segment: Verb, photos: Path) -> None:
    Image.fromarray(picture(300, 400)).save(photos / "large.png")
    code, out, err = segment("photos/a.png", "photos/large.png", "-c", "visual", "--box", "200,100,300,250", "--json")
    assert code == 1
    assert [one["image"] for one in documents(out)] == ["photos/large.png"]
    assert err.splitlines()[0].startswith("masklet: error: photos/a.png: an exemplar box must overlap the picture")


USAGE: dict[str, tuple[list[str], str]] = {
    "nothing to find": (["photos"], "say what to find"),
    "no picture": (["-c", "dog"], "IMAGE"),
    "three numbers": (["photos", "--box", "1,2,3"], "got '1,2,3'"),
    "six numbers": (["photos", "--box", "1,2,3,4,1,1"], "got '1,2,3,4,1,1'"),
    "words": (["photos", "--box", "a,b,c,d"], "got 'a,b,c,d'"),
    "reversed": (["photos", "-c", "dog", "--box", "9,9,1,1"], "9,9,1,1: an exemplar box must be"),
    "no area": (["photos", "-c", "dog", "--box", "1,1,1,5"], "1,1,1,5: an exemplar box must have an area"),
    "nan": (["photos", "-c", "dog", "--box", "nan,0,5,5"], "nan,0,5,5: "),
    "label": (["photos", "-c", "dog", "--box", "1,2,3,4,2"], "label must be 1 (positive) or 0 (negative), got 2"),
    "point": (["photos", "-c", "dog", "--point", "4"], "got '4'"),
    "threshold": (["photos", "-c", "dog", "--threshold", "1.5"], "expected a number in 0..1, got 1.5"),
    "threshold nan": (["photos", "-c", "dog", "--threshold", "nan"], "got nan"),
    "thresholds": (["photos", "-c", "dog", "--threshold", "0", "--threshold", "1"], "each of 1 concepts"),
    "overlap": (["photos", "-c", "dog", "--nms=-1"], "got -1"),
    "twice": (["photos", "-c", "dog", "-c", "dog"], "every concept once"),
    "megapixels": (["photos", "-c", "dog", "--max-megapixels", "nan"], "expected a number above 0, got nan"),
    "no megapixels": (["photos", "-c", "dog", "--max-megapixels", "0"], "expected a number above 0, got 0"),
    "object's box reversed": (["photos", "--box", "9,9,1,1"], "9,9,1,1: a box must be"),
    "object's second box": (["photos", "--box", "1,1,9,9", "--box", "1,1,1,5"], "1,1,1,5: a box must have an area"),
    "object's box of label 0": (["photos", "--box", "1,2,3,4,0"], "1,2,3,4,0: a box shows an object; LABEL needs -c"),
    "object's point": (["photos", "--point", "nan,4"], "nan,4: a point must be 2 finite numbers"),
    "object's label": (["photos", "--point", "3,4,2"], "3,4,2: a label must be 1 (on the object) or 0 (not on it)"),
    "point of which box": (["photos", "--box", "1,1,9,9", "--box", "2,2,9,9", "--point", "3,3"], "goes with one --box"),
    "two masks": (["photos", "--mask", "photos/a.png", "--mask", "photos/a.png"], "without -c give one at most"),
    "object's threshold": (["photos", "--point", "3,4", "--threshold", "0.5"], "--threshold: needs -c"),
    "object's overlap": (["photos", "--point", "3,4", "--nms", "0.5"], "--nms: needs -c"),
    "object elsewhere": (
        ["photos", "--box", "1,2,3,4", "--exemplar-from", "photos/a.png"],
        "--exemplar-from: needs -c",
    ),
    "candidates of a concept": (["photos", "-c", "dog", "--candidates"], "--candidates: is for objects"),
    "everything and a concept": (["photos", "-c", "dog", "--everything"], "-c: does not go with --everything"),
    "everything and a point": (["photos", "--everything", "--point", "3,4"], "--point: does not go with --everything"),
    "everything twice": (["photos", "--everything", "--threshold", "0", "--threshold", "1"], "give it once"),
    "yolo without files": (["photos", "-c", "dog", "--json", "--yolo"], "--out"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_is_one_line_and_2(segment: Verb, photos: Path, arguments: list[str], message: str) -> None:
    code, out, err = segment(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not Path("out").exists()


FAILURES: dict[str, tuple[list[str], str]] = {
    "empty concept": (["photos", "-c", "  "], "at least one visible character"),
    "input size": (["photos", "-c", "dog", "--image-size", "85"], "multiple of the patch size 14, got 85"),
    "device": (["photos", "-c", "dog", "--device", "abacus"], "got 'abacus'"),
    "overlap needed": (["photos", "-c", "dog", "--nms-across"], "nms_across needs nms_iou"),
    "empty folder": (["empty", "-c", "dog"], "empty: expected a folder with pictures"),
    "empty pattern": (["photos/*.jpg", "-c", "dog"], "photos/*.jpg: expected a pattern that fits"),
    "no mask": (["photos", "--mask", "nothing.png", "-c", "visual"], "nothing.png: expected a picture"),
    "empty mask": (["photos", "--mask", "black.png", "-c", "dog"], "an exemplar mask must have a pixel set"),
    "object's empty mask": (["photos", "--mask", "black.png"], "a mask must have a pixel set"),
    "object's input size": (
        ["photos", "--point", "3,4", "--image-size", "85"],
        "multiple of the patch size 14, got 85",
    ),
    "no such reference": (
        ["photos", "-c", "visual", "--box", "1,2,3,4", "--exemplar-from", "nothing.png"],
        "nothing.png: expected",
    ),
    "place of results": (["photos", "-c", "dog", "--out", "black.png/out"], "black.png/out: cannot be written"),
}


@pytest.mark.parametrize(("arguments", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_what_concerns_all_pictures_is_one_line_and_1(
    segment: Verb, photos: Path, arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    Image.new("L", (90, 60)).save("black.png")
    code, out, err = segment(*arguments)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert message in err


def test_wrong_models(segment: Verb, photos: Path) -> None:
    Path("half.safetensors").write_bytes(segment.weights.read_bytes()[:5000])
    for name, message in (("nope.pt", "no such file"), ("half.safetensors", "half.safetensors")):
        code, out, err = segment("photos", "-c", "dog", "--model", name, model=False)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert message in err


# --- on a terminal ----------------------------------------------------------------------------------------------------


def test_a_bar_on_a_terminal_only(segment: Verb, photos: Path) -> None:
    arguments = ["photos", "-c", "dog"]
    seen = on_terminal("segment", *arguments, *segment.chosen)
    assert "3/3" in seen
    assert "photos/more/c.png: " in seen
    assert "\x1b" not in "".join(segment(*arguments)[1:])
    # JSON on a terminal stays one line per document: no bar that would break it.
    seen = on_terminal("segment", *arguments, *segment.chosen, "--json", columns=40)
    assert "3/3" not in seen
    assert len(documents(seen)) == 3


def test_help_fits_a_terminal_and_names_the_fixed_options(segment: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = segment("--help", model=False)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for option in (
        "concept",
        "box",
        "point",
        "mask",
        "candidates",
        "everything",
        "threshold",
        "model",
        "device",
        "dtype",
        "out",
        "json",
    ):
        assert f"--{option} " in out
