"""Scripts about videos written for the original, as its notebooks go, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from masklet import Exemplar, load_model
from masklet.inference.policy import VideoPolicy
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_session import TrackerSession
from masklet.inference.video_frames import VideoFrames
from masklet.inference.video_predictor import VideoPredictor
from masklet.media.film_writer import FilmWriter
from masklet.media.span import Span
from masklet.media.video import open_video
from masklet.model.memory_bank import BankRules
from python_process import python

# One run for each kind of video; the first argument names it.
REQUESTS = """
import glob
import os
import sys

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")

import sam3
from sam3.model_builder import build_sam3_video_predictor
from sam3.visualization_utils import (
    load_frame,
    prepare_masks_for_visualization,
    save_masklet_image,
    save_masklet_video,
    visualize_formatted_frame_output,
)

sam3_root = os.path.join(os.path.dirname(sam3.__file__), "..")
gpus_to_use = range(torch.cuda.device_count())
predictor = build_sam3_video_predictor(gpus_to_use=gpus_to_use)
video_path, frame_folder, out = sys.argv[1:]


def propagate_in_video(predictor, session_id):
    outputs_per_frame = {}
    for response in predictor.handle_stream_request(request=dict(type="propagate_in_video", session_id=session_id)):
        outputs_per_frame[response["frame_index"]] = response["outputs"]
    return outputs_per_frame


def abs_to_rel_coords(coords, width, height, coord_type="point"):
    if coord_type == "point":
        return [[x / width, y / height] for x, y in coords]
    return [[x / width, y / height, w / width, h / height] for x, y, w, h in coords]


video_frames_for_vis = glob.glob(os.path.join(frame_folder, "*.jpg"))
video_frames_for_vis.sort(key=lambda p: int(os.path.splitext(os.path.basename(p))[0]))
height, width = load_frame(video_frames_for_vis[0]).shape[:2]
answers = {}


def keep(name, outputs_per_frame):
    for frame, outputs in outputs_per_frame.items():
        answers[f"{name}_{frame}_ids"] = outputs["out_obj_ids"]
        answers[f"{name}_{frame}_masks"] = outputs["out_binary_masks"]
        answers[f"{name}_{frame}_probs"] = outputs["out_probs"]
        answers[f"{name}_{frame}_boxes"] = outputs["out_boxes_xywh"]


response = predictor.handle_request(request=dict(type="start_session", resource_path=video_path))
session_id = response["session_id"]
_ = predictor.handle_request(request=dict(type="reset_session", session_id=session_id))
frame_idx = 0
response = predictor.handle_request(
    request=dict(type="add_prompt", session_id=session_id, frame_index=frame_idx, text="person")
)
out = response["outputs"]
visualize_formatted_frame_output(
    frame_idx, video_frames_for_vis, outputs_list=[prepare_masks_for_visualization({frame_idx: out})],
    titles=["SAM 3 Dense Tracking outputs"], figsize=(6, 4),
)
outputs_per_frame = propagate_in_video(predictor, session_id)
keep("text", outputs_per_frame)
folder = os.path.dirname(sys.argv[3])
save_masklet_image(video_frames_for_vis[0], outputs_per_frame[0], os.path.join(folder, "frame.png"), frame_idx=0)
save_masklet_video(video_frames_for_vis, outputs_per_frame, os.path.join(folder, "masklets.mp4"))
outputs_per_frame = prepare_masks_for_visualization(outputs_per_frame)

obj_id = int(answers["text_0_ids"][0])
predictor.handle_request(request=dict(type="remove_object", session_id=session_id, obj_id=obj_id))
keep("removed", propagate_in_video(predictor, session_id))

points_abs, labels = np.array([[20, 21]]), np.array([1])
points_tensor = torch.tensor(abs_to_rel_coords(points_abs, width, height, coord_type="point"), dtype=torch.float32)
points_labels_tensor = torch.tensor(labels, dtype=torch.int32)
for name, points, point_labels in (
    ("clicked", points_tensor, points_labels_tensor),
    ("refined", [[20 / width, 21 / height], [50 / width, 5 / height]], [1, 0]),
):
    response = predictor.handle_request(
        request=dict(
            type="add_prompt", session_id=session_id, frame_index=0, points=points, point_labels=point_labels,
            obj_id=obj_id,
        )
    )
    keep(name, {0: response["outputs"]})
keep("again", propagate_in_video(predictor, session_id))

boxes = abs_to_rel_coords([[8, 12, 18, 18]], width, height, coord_type="box")
response = predictor.handle_request(
    request=dict(
        type="add_prompt", session_id=session_id, frame_index=0, bounding_boxes=boxes, bounding_box_labels=[1]
    )
)
keep("box", propagate_in_video(predictor, session_id))
_ = predictor.handle_request(request=dict(type="close_session", session_id=session_id))
predictor.shutdown()
np.savez(sys.argv[3], **answers)
"""


@pytest.fixture
def places(clip: npt.NDArray[np.uint8], tmp_path: Path) -> dict[str, Path]:
    """The clip as a folder of JPEGs whose names have no leading zeros, a film, and its first frame."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / f"{index + 7}.jpg", quality=95)  # 7 .. 11: 10 comes after 9
    with FilmWriter(tmp_path / "clip.mp4", quality=5) as film:
        for frame in clip:
            film.write(frame)
    Image.fromarray(clip[0]).save(tmp_path / "photo.png")
    return {"folder": folder, "film": tmp_path / "clip.mp4", "picture": tmp_path / "photo.png"}


def kept(found: dict[str, np.ndarray], name: str) -> list[int]:
    return [int(key.split("_")[1]) for key in found if key.startswith(f"{name}_") and key.endswith("_ids")]


@pytest.mark.parametrize("kind", ["folder", "film", "picture"])
def test_requests(video_pt: Path, places: dict[str, Path], tmp_path: Path, kind: str) -> None:
    (tmp_path / "script.py").write_text(REQUESTS)
    done = python(
        *("-m", "masklet.compat", tmp_path / "script.py", places[kind], places["folder"], tmp_path / "answers.npz"),
        MASKLET_SAM3_CHECKPOINT=str(video_pt),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    with np.load(tmp_path / "answers.npz") as file:
        found = dict(file)
    last = 0 if kind == "picture" else 4
    for name in ("text", "removed", "again", "box"):
        assert kept(found, name) == list(range(last + 1))
    assert kept(found, "clicked") == kept(found, "refined") == [0]
    with Image.open(tmp_path / "frame.png") as frame:
        assert frame.size == (60, 44)
    with open_video(tmp_path / "masklets.mp4") as film:
        assert film.count_frames() == last + 1

    # The same by masklet's own interface.
    predictor = VideoPredictor(load_model(video_pt, device="cpu", dtype="float32"))
    with predictor.open(places[kind]) as video:
        video.add_concept("person")
        list(video.propagate(0, 0))
        texts = list(video.propagate())
    with predictor.open(places[kind]) as video:
        video.add_exemplar(0, Exemplar((8, 12, 26, 30)))
        list(video.propagate(0, 0))
        boxes = list(video.propagate())
    for name, results in (("text", texts), ("box", boxes)):
        assert sum(len(result) for result in results) >= len(results)  # there is something to compare
        for result in results:
            prefix = f"{name}_{result.frame_idx}"
            np.testing.assert_array_equal(found[f"{prefix}_ids"], result.object_ids)
            np.testing.assert_allclose(found[f"{prefix}_probs"], result.scores, atol=1e-6)
            # Fractions of the frame in float32 on one side; a pixel on an edge may change.
            assert np.mean(found[f"{prefix}_masks"] != result.masks) < 1e-3
            if name == "text":
                x, y, width, height = (result.boxes_xyxy - [0, 0, 1, 1]).T.reshape(4, -1)
                expected = np.stack((x / 60, y / 44, (width - x) / 60, (height - y) / 44), 1)
                np.testing.assert_allclose(found[f"{prefix}_boxes"], expected, atol=1e-6)
    gone = found["text_0_ids"][0]
    assert all(gone not in found[f"removed_{frame}_ids"] for frame in range(last + 1))
    assert found["clicked_0_probs"][list(found["clicked_0_ids"]).index(gone)] == 1
    assert not np.array_equal(found["clicked_0_masks"], found["refined_0_masks"])
    np.testing.assert_array_equal(found["again_0_masks"], found["refined_0_masks"])


CLICKS = """
import os
import sys

import numpy as np
import torch

from sam3.model_builder import build_sam3_video_model

sam3_model = build_sam3_video_model()
predictor = sam3_model.tracker
predictor.backbone = sam3_model.detector.backbone

video_dir, out = sys.argv[1:]
width, height = 60, 44
inference_state = predictor.init_state(video_path=video_dir)
predictor.clear_all_points_in_video(inference_state)

ann_frame_idx, ann_obj_id = 0, 1
points = np.array([[20, 21], [55, 3]], dtype=np.float32)
labels = np.array([1, 0], np.int32)
rel_points = [[x / width, y / height] for x, y in points]
points_tensor = torch.tensor(rel_points, dtype=torch.float32)
points_labels_tensor = torch.tensor(labels, dtype=torch.int32)
_, out_obj_ids, low_res_masks, video_res_masks = predictor.add_new_points(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id, points=points_tensor,
    labels=points_labels_tensor, clear_old_points=False,
)
answers = {"first": (video_res_masks > 0).cpu().numpy()}
rel_box = np.array([[8 / width, 12 / height, 26 / width, 30 / height]], dtype=np.float32)
_, out_obj_ids, low_res_masks, video_res_masks = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=4, box=rel_box,
)
assert list(out_obj_ids) == [1, 4]
video_segments = {}
for frame_idx, obj_ids, low_res_masks, video_res_masks, obj_scores in predictor.propagate_in_video(
    inference_state, start_frame_idx=0, max_frame_num_to_track=240, reverse=False, propagate_preflight=True
):
    video_segments[frame_idx] = {
        out_obj_id: (video_res_masks[i] > 0.0).cpu().numpy() for i, out_obj_id in enumerate(obj_ids)
    }
for frame_idx, masks in video_segments.items():
    for obj_id, mask in masks.items():
        answers[f"mask_{frame_idx}_{obj_id}"] = mask
np.savez(out, **answers)
"""


def test_clicks(video_pt: Path, places: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CLICKS)
    done = python(
        *("-m", "masklet.compat", tmp_path / "script.py", places["folder"], tmp_path / "answers.npz"),
        MASKLET_SAM3_CHECKPOINT=str(video_pt),
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as file:
        found = dict(file)
    assert sorted(found) == sorted(["first", *(f"mask_{frame}_{one}" for frame in range(5) for one in (1, 4))])

    model = load_model(video_pt, device="cpu", dtype="float32")
    assert model.tracker is not None
    assert model.config.tracker is not None
    with open_video(places["folder"]) as source:
        frames = VideoFrames(model, source, Span(), image_size=model.config.vision.image_size)
        session = TrackerSession(
            model.tracker,
            frames.tracker,
            size_hw=(44, 60),
            frames=5,
            policy=TrackerPolicy(bank=BankRules.of(model.config.tracker, select=VideoPolicy().memory_selection)),
        )
        session.click(0, 1, [(20, 21), (55, 3)], [1, 0])
        assert found["first"].shape == (1, 1, 44, 60)
        assert found["first"].any()
        assert np.mean(found["first"][0] != (session.mask_logits_px(0) > 0).numpy()) < 1e-3  # pixels on edges
        session.click(0, 4, box_xyxy=(8, 12, 26, 30))
        shares = []
        for frame in session.propagate():
            masks = (session.mask_logits_px(frame.frame_idx) > 0).numpy()
            for index, object_id in enumerate(frame.object_ids):
                shares.append(masks[index].mean())
                assert np.mean(found[f"mask_{frame.frame_idx}_{object_id}"][0] != masks[index]) < 1e-3
    assert 0.01 < np.mean(shares) < 0.99
