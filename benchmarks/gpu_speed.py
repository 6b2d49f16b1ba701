"""Milliseconds of a whole picture on a GPU, beside transformers: `python benchmarks/gpu_speed.py` (`make bench-gpu`).

One picture and one concept: from levels 0..255 in the processor's memory to scores, boxes, and masks in the picture's
size that stay on the GPU, of `--objects` queries; the phrase is encoded ahead. Theirs gets the picture in the model's
size on the GPU already. The same random weights in bfloat16, in turns within one run; the ratio is the median over
turns. `--compile` compiles our vision encoder. Any device will do, so that it can be tried without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from record import append, circumstances
from rivals import Models
from torch import Tensor

from masklet.config import ModelConfig
from masklet.media.images import to_pixels
from masklet.model.compiled import compile_model
from masklet.model.detector import Detector, concat_prompts
from masklet.ops.boxes import cxcywh_to_xyxy
from masklet.runtime import device_name, resolve_device
from masklet.types import ExemplarBatch

MOST_MS = 15.0
"""What ours may take at most on an H100 or H200, with 100 objects of the `sam3` preset."""
SIZE_HW = (1080, 1920)

Found = tuple[Tensor, Tensor, Tensor]
"""Scores (N,), boxes_xyxy (N, 4) as shares of the picture, masks (N, H, W) bool."""


def in_picture(logits: Tensor) -> Tensor:
    """(N, h, w) -> (N, H, W) bool."""
    return F.interpolate(logits[None].float(), SIZE_HW, mode="bilinear")[0] > 0


def ours(model: Detector, config: ModelConfig, token_ids: Tensor, objects: int) -> Callable[[], Found]:
    """A picture to masks by masklet."""
    levels = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    text, one = model.encode_text(token_ids), torch.zeros(1, dtype=torch.int64, device=model.device)
    nothing = ExemplarBatch.empty(1, dtype=model.dtype)
    keep = torch.arange(config.decoder.queries, device=model.device)[None] < objects

    def run() -> Found:
        pixels = to_pixels(levels, config.vision.image_size, model.device)
        features = model.encode_image(pixels, [SIZE_HW])
        prompt = concat_prompts(text, model.encode_exemplars(features, one, nothing))
        raw = model.detect(features, one, prompt)
        scores = raw.class_logits.sigmoid() * raw.presence_logits.float().sigmoid()
        (masks,) = model.decode_masks(features, one, prompt, raw, keep)
        return scores[keep], cxcywh_to_xyxy(raw.boxes_cxcywh_norm[keep]), in_picture(masks)

    return run


def theirs(model: Any, config: ModelConfig, token_ids: Tensor, objects: int) -> Callable[[], Found]:
    """A picture to masks by transformers, which makes masks of all queries."""
    ids = token_ids.to(model.device)
    valid = (ids != 0).long()
    text = model.get_text_features(input_ids=ids, attention_mask=valid)
    side = config.vision.image_size
    pixels = torch.rand(1, 3, side, side, generator=torch.manual_seed(0)).mul_(2).sub_(1).to(model.device, model.dtype)

    def run() -> Found:
        found = model(pixel_values=pixels, text_embeds=text, attention_mask=valid)
        scores = found.pred_logits[0].float().sigmoid() * found.presence_logits[0].float().sigmoid()
        return scores[:objects], found.pred_boxes[0, :objects], in_picture(found.pred_masks[0, :objects])

    return run


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Until everything is on the device."""
    start = time.perf_counter()
    run()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def measured(models: Models, device: torch.device, turns: int, objects: int) -> dict[str, float]:
    """Medians, after three turns that do not count."""
    config, token_ids = models.ours.config, models.phrase()
    mine = ours(models.ours, config, token_ids, objects)
    other = theirs(models.theirs, config, token_ids, objects)
    pairs = [(milliseconds(mine, device), milliseconds(other, device)) for _ in range(turns + 3)][3:]
    return {
        "ours_ms": round(statistics.median(one for one, _ in pairs), 2),
        "theirs_ms": round(statistics.median(two for _, two in pairs), 2),
        "ratio": round(statistics.median(two / one for one, two in pairs), 2),
    }


def main(words: list[str] | None = None, config: ModelConfig | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="compile our vision encoder")
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    arguments = parser.parse_args(words)
    device = resolve_device(arguments.device)
    with torch.no_grad():
        models = Models.make("bfloat16", "bfloat16", config=config).to(device)
        if arguments.compile:
            compile_model(models.ours)
        figures = measured(models, device, arguments.turns, arguments.objects)
    print(f"{device_name(device)}, bfloat16, {arguments.objects} objects, compiled: {arguments.compile}")
    print(f"ours {figures['ours_ms']:.1f} ms, theirs {figures['theirs_ms']:.1f} ms, ratio {figures['ratio']:.2f}")
    print(f"bar of {MOST_MS:g} ms: {'met' if figures['ours_ms'] <= MOST_MS else 'MISSED'}")
    if arguments.record:
        setting = {"preset": models.ours.config.name, "dtype": "bfloat16", "device": device_name(device)}
        how = {"objects": arguments.objects, "turns": arguments.turns, "compiled": arguments.compile}
        append({"benchmark": "gpu_speed", **setting, **how, "figures": figures, **circumstances()})


if __name__ == "__main__":
    main()
