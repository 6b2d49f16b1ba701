"""Scripts written for the original, in a process of their own: `import sam3` must not leak into other tests."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import masklet.compat
from masklet import Exemplar, load_model
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.interactive_predictor import InteractivePredictor
from python_process import python

# As the original's notebooks go: assets beside the package, a merges file that is not there, CUDA settings, autocast.
SCRIPT = """
import os
import sys

import matplotlib
import numpy as np
import torch
from PIL import Image

matplotlib.use("Agg")

import sam3
from sam3 import build_sam3_image_model
from sam3.model.box_ops import box_xywh_to_cxcywh
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.visualization_utils import draw_box_on_image, normalize_bbox, plot_results

assert __name__ == "__main__"
sam3_root = os.path.join(os.path.dirname(sam3.__file__), "..")
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True
torch.autocast("cuda", dtype=torch.bfloat16, enabled=torch.cuda.is_available()).__enter__()

bpe_path = f"{sam3_root}/assets/bpe_simple_vocab_16e6.txt.gz"
model = build_sam3_image_model(bpe_path=bpe_path)
image_path, out = sys.argv[1:]
image = Image.open(image_path)
width, height = image.size
processor = Sam3Processor(model, confidence_threshold=0.0)
inference_state = processor.set_image(image)

processor.reset_all_prompts(inference_state)
inference_state = processor.set_text_prompt(state=inference_state, prompt="shoe")
plot_results(Image.open(image_path), inference_state)
answers = {"text": inference_state["boxes"], "text_scores": inference_state["scores"]}

box_input_xywh = torch.tensor([[11.0, 18.0, 38.0, 18.0], [45.0, 24.0, 15.0, 24.0]]).view(-1, 4)
box_input_cxcywh = box_xywh_to_cxcywh(box_input_xywh)
norm_boxes_cxcywh = normalize_bbox(box_input_cxcywh, width, height).tolist()
processor.reset_all_prompts(inference_state)
for box, label in zip(norm_boxes_cxcywh, [True, False]):
    inference_state = processor.add_geometric_prompt(state=inference_state, box=box, label=label)
answers["boxes"] = inference_state["boxes"]
answers["scores"] = inference_state["scores"]
plot_results(draw_box_on_image(image, box_input_xywh[0].tolist()), inference_state)

inference_state = processor.set_confidence_threshold(1.0, inference_state)
answers["none"] = inference_state["masks"]
batch = processor.set_image_batch([image, image.resize((33, 44))])

model = build_sam3_image_model(bpe_path=bpe_path, enable_inst_interactivity=True)
inference_state = Sam3Processor(model).set_image(image)
points, labels = np.array([[30, 20]]), np.array([1])
masks, scores, logits = model.predict_inst(
    inference_state, point_coords=points, point_labels=labels, multimask_output=True
)
sorted_ind = np.argsort(scores)[::-1]
masks, scores, logits = masks[sorted_ind], scores[sorted_ind], logits[sorted_ind]
masks, _, _ = model.predict_inst(
    inference_state,
    point_coords=points,
    point_labels=labels,
    mask_input=logits[np.argmax(scores), :, :][None, :, :],
    multimask_output=False,
)
answers["clicked"] = torch.from_numpy(masks)
answers["heights"] = torch.tensor(batch["original_heights"])
np.savez(out, **{name: value.cpu().numpy() for name, value in answers.items()})
"""


def test_a_script_of_the_original_runs(sam3_pt: Path, picture: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    picture.save(tmp_path / "photo.png")
    done = python(
        "-m",
        "masklet.compat",
        tmp_path / "script.py",
        tmp_path / "photo.png",
        tmp_path / "answers.npz",
        MASKLET_SAM3_CHECKPOINT=str(sam3_pt),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found 12 object(s)\n" * 2
    found = np.load(tmp_path / "answers.npz")

    predictor = ImagePredictor(load_model(sam3_pt, device="cpu", dtype="float32"))
    exemplars = [Exemplar((11, 18, 49, 36)), Exemplar((45, 24, 60, 48), positive=False)]
    text = predictor.segment(picture, "shoe", threshold=0.0, nms_iou=None)
    shown = predictor.segment(picture, exemplars=exemplars, threshold=0.0, nms_iou=None)
    order = np.argsort(-found["scores"], kind="stable")
    limits = [75, 60, 75, 60]
    # Fractions of the picture in float32 here, in float64 there: pixels agree to some 1e-5, scores to rounding.
    np.testing.assert_allclose(found["scores"][order], shown.scores, atol=1e-5)
    np.testing.assert_allclose(found["boxes"][order].clip(0, limits), shown.boxes_xyxy, atol=1e-3)
    order = np.argsort(-found["text_scores"], kind="stable")
    np.testing.assert_allclose(found["text"][order].clip(0, limits), text.boxes_xyxy, atol=1e-3)
    assert found["none"].shape == (0, 1, 60, 75)
    clicker = InteractivePredictor(predictor.model)
    first = clicker.segment(picture, points=[(30, 20)])
    refined = clicker.segment(picture, points=[(30, 20)], logits=first.low_res_logits[0])
    assert np.mean(found["clicked"].astype(bool) != refined.masks) < 1e-3  # pixels on the edge
    assert found["heights"].tolist() == [60, 44]


def test_every_module_is_listed() -> None:
    folder = Path(masklet.compat.__file__).parent
    found = {module.name for module in pkgutil.walk_packages([str(folder)], "masklet.compat.")}
    listed = {f"masklet.compat.{name}" for name in masklet.compat.MODULES}
    assert {name for name in found if name.startswith("masklet.compat.sam3")} == listed


INSTALLED = """
import sys
import masklet
masklet.compat.install()
first = dict(sys.modules)
masklet.compat.install()
assert dict(sys.modules) == first

import sam3, sam3.model_builder, sam3.model.box_ops, sam3.visualization_utils
from sam3.model import sam3_image_processor
assert sam3.build_sam3_image_model is sam3.model_builder.build_sam3_image_model
assert sam3_image_processor.Sam3Processor.__module__ == "masklet.compat.sam3.model.sam3_image_processor"
assert sam3.__version__ == masklet.__version__
assert sam3.__file__.endswith("__init__.py") and sam3.model.box_ops.__file__.endswith("box_ops.py")
assert "matplotlib" not in sys.modules
for missing in ("sam3.train", "sam3.model.decoder"):
    try:
        __import__(missing)
    except ModuleNotFoundError as error:
        assert missing in str(error)
    else:
        raise AssertionError(missing)
from sam3.model_builder import build_sam3_video_model, build_sam3_video_predictor, build_tracker
"""


def test_install(tmp_path: Path) -> None:
    # A folder of this name, such as a clone of the original, is no package.
    (tmp_path / "sam3").mkdir()
    (tmp_path / "script.py").write_text(INSTALLED)
    done = python(tmp_path / "script.py")
    assert done.returncode == 0, done.stderr


HIDDEN = """
import sys
import masklet.compat
from masklet.errors import InputError
if "imported" in sys.argv:
    import sam3.deep
    assert sam3.deep.original
try:
    masklet.compat.install()
except InputError as error:
    assert "sam3/__init__.py" in str(error) and "install(replace=True)" in str(error), error
else:
    raise AssertionError
masklet.compat.install(replace=True)
masklet.compat.install()  # nothing is left to hide
import sam3.model_builder
assert "compat" in sam3.__file__ and "sam3.deep" not in sys.modules
"""


@pytest.mark.parametrize("imported", ["imported", "not imported"])
def test_the_original_is_not_hidden_unasked(tmp_path: Path, imported: str) -> None:
    (tmp_path / "sam3").mkdir()
    (tmp_path / "sam3/__init__.py").write_text("")
    (tmp_path / "sam3/deep.py").write_text("original = True")
    (tmp_path / "script.py").write_text(HIDDEN)
    done = python(tmp_path / "script.py", imported)
    assert done.returncode == 0, done.stderr


def test_the_command(tmp_path: Path) -> None:
    usage = python("-m", "masklet.compat")
    assert (usage.returncode, usage.stdout) == (2, "")
    assert usage.stderr.startswith("usage: python -m masklet.compat SCRIPT")
    missing = python("-m", "masklet.compat", tmp_path / "none.py")
    assert missing.returncode == 2
    assert "there is no such file" in missing.stderr

    # Asked for by running it so, the adapters hide an original that lies beside the script.
    (tmp_path / "sam3").mkdir()
    (tmp_path / "sam3/__init__.py").write_text("raise AssertionError")
    (tmp_path / "beside.py").write_text("value = 4")
    (tmp_path / "script.py").write_text("import sys, beside, sam3.model\nsys.exit(beside.value + len(sys.argv))")
    done = python("-m", "masklet.compat", tmp_path / "script.py", "-c", "--help")
    assert done.returncode == 7, done.stderr
