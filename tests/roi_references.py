"""Two RoIAligns that are not ours: onnxruntime's compiled kernel, and a loop written from the definition.

Both follow torchvision's defaults, which the original uses (spec/image-model.md 5): `aligned=False`, an adaptive
number of samples, sides of at least one cell, samples more than one cell outside the map count zero.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor


@functools.cache
def _session(output_size: int) -> onnxruntime.InferenceSession:
    node = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "image_idx"],
        ["pooled"],
        mode="avg",
        output_height=output_size,
        output_width=output_size,
        sampling_ratio=0,  # adaptive
        spatial_scale=1.0,
        coordinate_transformation_mode="output_half_pixel",  # torchvision's aligned=False
    )
    graph = helper.make_graph(
        [node],
        "roi_align",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, None, None, None]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("image_idx", TensorProto.INT64, [None]),
        ],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [None, None, output_size, output_size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_roi_align(features: Tensor, boxes_xyxy: Tensor, image_idx: Tensor, output_size: int) -> Tensor:
    """onnxruntime's kernel: (B, C, h, w), (n, 4) in cells, (n,) -> (n, C, output_size, output_size)."""
    inputs = {
        "features": features.detach().float().contiguous().numpy(),
        "boxes": boxes_xyxy.detach().float().contiguous().numpy(),
        "image_idx": image_idx.detach().long().numpy(),
    }
    return torch.from_numpy(_session(output_size).run(None, inputs)[0])


def _sample(features: np.ndarray, y: np.float32, x: np.float32) -> np.ndarray:
    """The (C,) bilinear value of a (C, h, w) map at one point, pixel centres at integer coordinates."""
    height, width = features.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(features.shape[0], np.float32)
    y, x = max(y, np.float32(0)), max(x, np.float32(0))
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down = y - top if top < height - 1 else np.float32(0)
    across = x - left if left < width - 1 else np.float32(0)
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def loop_roi_align(features: Tensor, boxes_xyxy: Tensor, image_idx: Tensor, output_size: int) -> Tensor:
    """The definition, sample by sample in float32: same arguments and result as `onnx_roi_align`."""
    maps = features.detach().float().numpy()
    pooled = np.zeros((len(boxes_xyxy), maps.shape[1], output_size, output_size), np.float32)
    bins = np.float32(output_size)
    for n, (box, image) in enumerate(zip(boxes_xyxy.detach().float().numpy(), image_idx.tolist(), strict=True)):
        x0, y0, x1, y1 = box
        width, height = max(x1 - x0, np.float32(1)), max(y1 - y0, np.float32(1))
        bin_w, bin_h = width / bins, height / bins
        samples_x, samples_y = math.ceil(bin_w), math.ceil(bin_h)
        for by in range(output_size):
            for bx in range(output_size):
                total = np.zeros(maps.shape[1], np.float32)
                for iy in range(samples_y):
                    y = y0 + np.float32(by) * bin_h + np.float32(iy + 0.5) * bin_h / np.float32(samples_y)
                    for ix in range(samples_x):
                        x = x0 + np.float32(bx) * bin_w + np.float32(ix + 0.5) * bin_w / np.float32(samples_x)
                        total += _sample(maps[image], y, x)
                pooled[n, :, by, bx] = total / np.float32(samples_x * samples_y)
    return torch.from_numpy(pooled)
