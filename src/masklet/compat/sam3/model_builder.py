"""Stands for the original's `sam3.model_builder`: weights -> model."""

from __future__ import annotations

from pathlib import Path

import torch

from masklet.checkpoint import load_model
from masklet.checkpoint.hub import PUBLIC_MODEL
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.errors import InputError


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
        enable_inst_interactivity: must be False: clicks are not supported yet.
        compile: run the vision encoder through `torch.compile`.

    Raises:
        CheckpointError: no weights were found, or they do not fit.
        InputError: clicks were asked for, or an unknown device.
    """
    if enable_inst_interactivity:
        raise InputError(
            "enable_inst_interactivity=True asks for clicks (predict_inst), which masklet.compat does not have yet; "
            "leave it out: text and boxes work without it"
        )
    if str(device) == "cuda" and not torch.cuda.is_available():
        device = "cpu"
    detector = load_model(
        PUBLIC_MODEL if checkpoint_path is None else checkpoint_path,
        device=device,
        dtype="float32",
        download=load_from_HF,
    )
    if compile:
        detector.vision_encoder.compile()
    return Sam3Image(detector, segmentation=enable_segmentation).train(not eval_mode)
