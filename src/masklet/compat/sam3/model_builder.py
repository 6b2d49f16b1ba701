"""Stands for the original's `sam3.model_builder`: weights -> model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from masklet.checkpoint import load_model
from masklet.checkpoint.hub import PUBLIC_MODEL
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from masklet.compat.sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from masklet.compat.sam3.model.sam3_video_predictor import Sam3VideoPredictor
from masklet.inference.policy import VideoPolicy
from masklet.model.compiled import compile_model
from masklet.model.detector import Detector


def build_sam3_image_model(
    bpe_path: str | Path | None = None,
    device: str | torch.device = "cuda",
    eval_mode: bool = True,
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,  # noqa: N803  # the original's name
    enable_segmentation: bool = True,
    enable_inst_interactivity: bool = False,
    compile: bool = False,
) -> Sam3Image:
    """The image model with its weights, in float32 as the original: programs choose less with `torch.autocast`.

    Args:
        bpe_path: not read, the file need not exist: masklet has the same table of the tokenizer in its package.
        device: where the parameters go; "cuda" means the CPU where there is no CUDA.
        eval_mode: False leaves the model in training mode.
        checkpoint_path: any checkpoint that `masklet.load_model` takes. None looks for the public model: in the
            environment variable MASKLET_SAM3_CHECKPOINT, then in the local Hugging Face cache, then it is downloaded.
        load_from_HF: False forbids the download.
        enable_segmentation: False finds boxes and scores only.
        enable_inst_interactivity: answer clicks (`predict_inst`); pictures then take more memory.
        compile: run the vision encoder through `torch.compile`.

    Raises:
        CheckpointError: no weights were found, or they do not fit.
        InputError: an unknown device, or clicks were asked for and the checkpoint has no tracker.
    """
    detector = _loaded(checkpoint_path, device, download=load_from_HF, compiled=compile)
    model = Sam3Image(detector, segmentation=enable_segmentation, interactive=enable_inst_interactivity)
    return model.train(not eval_mode)


def build_sam3_video_model(
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,  # noqa: N803  # the original's name
    bpe_path: str | Path | None = None,
    has_presence_token: bool = True,
    geo_encoder_use_img_cross_attn: bool = True,
    strict_state_dict_loading: bool = True,
    apply_temporal_disambiguation: bool = True,
    device: str | torch.device = "cuda",
    compile: bool = False,
) -> Sam3VideoInferenceWithInstanceInteractivity:
    """The video model with its weights, in float32: its `tracker` follows clicks, its `detector` finds.

    Args:
        checkpoint_path: as for `build_sam3_image_model`.
        load_from_HF: False forbids the download.
        bpe_path: not read.
        has_presence_token: changes nothing, in the original neither: the weights say what there is.
        geo_encoder_use_img_cross_attn: changes nothing, in the original neither.
        strict_state_dict_loading: changes nothing: weights that do not fit are always refused.
        apply_temporal_disambiguation: remove what is found for a moment only, and read memory of frames on which
            objects were seen well; False gives frames at once.
        device: where the parameters go; "cuda" means the CPU where there is no CUDA.
        compile: run the vision encoder through `torch.compile`.

    Raises:
        CheckpointError: no weights were found, or they do not fit.
        InputError: an unknown device, or weights without a tracker.
    """
    rules = VideoPolicy() if apply_temporal_disambiguation else VideoPolicy.without_disambiguation()
    detector = _loaded(checkpoint_path, device, download=load_from_HF, compiled=compile)
    # Sessions keep masks as they are, and put them apart when they go out.
    return Sam3VideoInferenceWithInstanceInteractivity(detector, replace(rules, masks_apart=False)).eval()


def build_sam3_video_predictor(
    checkpoint_path: str | Path | None = None,
    bpe_path: str | Path | None = None,
    has_presence_token: bool = True,
    geo_encoder_use_img_cross_attn: bool = True,
    strict_state_dict_loading: bool = True,
    async_loading_frames: bool = False,
    video_loader_type: str = "cv2",
    apply_temporal_disambiguation: bool = True,
    *,
    gpus_to_use: Iterable[int] | None = None,
    load_from_HF: bool = True,  # noqa: N803  # the original's name
    device: str | torch.device = "cuda",
    compile: bool = False,
) -> Sam3VideoPredictor:
    """What answers requests about videos.

    Args:
        checkpoint_path: as for `build_sam3_image_model`; so are those that are not named here, and those of
            `build_sam3_video_model`.
        bpe_path: not read.
        has_presence_token: changes nothing, in the original neither.
        geo_encoder_use_img_cross_attn: changes nothing, in the original neither.
        strict_state_dict_loading: changes nothing: weights that do not fit are always refused.
        async_loading_frames: changes nothing: frames are always read ahead on a thread.
        video_loader_type: changes nothing: films are read by PyAV, with the right scale.
        apply_temporal_disambiguation: as for `build_sam3_video_model`.
        gpus_to_use: numbers of CUDA devices, the first of which is used; None or none: `device`.
        load_from_HF: False forbids the download.
        device: where the parameters go.
        compile: run the vision encoder through `torch.compile`.

    Raises:
        CheckpointError: no weights were found, or they do not fit.
        InputError: an unknown device, or weights without a tracker.
    """
    gpus = list(gpus_to_use or ())
    model = build_sam3_video_model(
        checkpoint_path,
        load_from_HF,
        apply_temporal_disambiguation=apply_temporal_disambiguation,
        device=f"cuda:{gpus[0]}" if gpus else device,
        compile=compile,
    )
    return Sam3VideoPredictor(model)


def build_tracker(
    apply_temporal_disambiguation: bool,
    with_backbone: bool = False,
    compile_mode: str | None = None,
    *,
    checkpoint_path: str | Path | None = None,
    device: str | torch.device = "cuda",
) -> Sam3TrackerPredictor:
    """What follows clicks through videos, with its weights, which the original leaves to the caller to load.

    Args:
        apply_temporal_disambiguation: read memory of frames on which objects were seen well.
        with_backbone: with what encodes frames; else `predictor.backbone` has to be set.
        compile_mode: run the vision encoder through `torch.compile` in this mode; None: as it is.
        checkpoint_path: as for `build_sam3_image_model`.
        device: where the parameters go.

    Raises:
        CheckpointError: no weights were found, or they do not fit.
        InputError: an unknown device, or weights without a tracker.
    """
    model = _loaded(checkpoint_path, device, download=True, compiled=False)
    if compile_mode is not None:
        compile_model(model, mode=compile_mode)
    predictor = Sam3TrackerPredictor.of(model, select=apply_temporal_disambiguation)
    if not with_backbone:
        predictor.backbone = None
    return predictor.eval()


def _loaded(
    checkpoint_path: str | Path | None, device: str | torch.device, *, download: bool, compiled: bool
) -> Detector:
    """Masklet's model in float32, on the device or, for "cuda" where there is none, on the CPU."""
    if str(device) == "cuda" and not torch.cuda.is_available():
        device = "cpu"
    weights = PUBLIC_MODEL if checkpoint_path is None else checkpoint_path
    return load_model(weights, device=device, dtype="float32", download=download, compile=compiled)
