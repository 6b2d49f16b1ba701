"""What fine-tuning keeps in memory, part by part: `python benchmarks/tune_memory.py --preset sam3`.

An estimate of a step on a GPU, made on any processor: one forward pass with the losses runs here in bfloat16, and every
tensor that PyTorch would keep for the backward pass is counted once, by the part of the model that kept it, and not
kept. Attention runs as one kernel that keeps no scores, as on a GPU. One picture of the input's size is asked
`--prompts` questions. Then, for each way to adapt the model, in GB (10^9 bytes):

    weights       float32
    learning      gradients, both moments of AdamW and the averaged weights of what learns, float32
    activations   kept for the backward pass, with the weights' bfloat16 copies; "short": with run.checkpointing, where
                  blocks keep their inputs and the largest block is there in full once
    total         of all, without the GPU's own context (about 0.5 GB) and what a kernel needs for a moment

The full size needs 12 GB of memory and some minutes for each case.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from masklet.config import PRESETS
from masklet.data.open import open_dataset
from masklet.layers.attention import use_kernel
from masklet.model.build import build_model
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco
from masklet.training.samples import PromptSampling
from masklet.training.settings import Adapt, Run, Source, TrainSettings
from masklet.training.tune_task import BLOCKS, TuneTask

CASES: tuple[Adapt, ...] = ("full", "lora", "no-vision", "no-text", "no-encoders", "heads")
ADAM_AND_AVERAGE = 4  # numbers beside each that learns: gradient, two moments, average


class Kept:
    """Counts what autograd keeps, by part of the model and by block.

    Attributes:
        parts: bytes by part.
        blocks: bytes by block of a part, weights' copies left out.
        inputs: bytes of the inputs of each block.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parts: Counter[str] = Counter()
        self.blocks: Counter[str] = Counter()
        self.inputs: Counter[str] = Counter()
        self._own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._seen: dict[int, StorageWeakRef] = {}
        self._part, self._block = "masks, losses", ""
        for name, module in model.named_modules():
            if "." not in name and name:
                self._watch(module, name, block=False)
            elif isinstance(module, BLOCKS):
                self._watch(module, name, block=True)

    def _watch(self, module: nn.Module, name: str, *, block: bool) -> None:
        before: list[tuple[str, str]] = []

        def enter(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            before.append((self._part, self._block))
            if block:
                self._block = name
                self.inputs[name] = sum(
                    each.nbytes for each in arguments if isinstance(each, Tensor) and each.requires_grad
                )
            else:
                self._part = name

        def leave(*_: object) -> None:
            self._part, self._block = before.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is kept in the block is counted and not kept: there can be no backward pass."""
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda kept: kept):
            yield

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)  # keeps the address from being used again
        if storage.data_ptr() in self._own or reference.cdata in self._seen:
            return
        self._seen[reference.cdata] = reference
        self.parts[self._part] += storage.nbytes()
        if self._block:
            self.blocks[self._block] += storage.nbytes()

    def short(self) -> Counter[str]:
        """Bytes by part if blocks kept their inputs only, and the largest block all of it."""
        parts = Counter(self.parts)
        for block, size in self.blocks.items():
            parts[block.partition(".")[0]] += self.inputs[block] - size
        parts["largest block"] = max(self.blocks.values(), default=0)
        return parts


def measure(preset: str, adapt: Adapt, prompts: int, labels: Path, *, masks: bool) -> dict[str, Any]:
    """GB of everything for one way to adapt."""
    settings = TrainSettings(
        train=Source(path=str(labels)),
        adapt=adapt,
        prompts=PromptSampling(most=prompts, absent=prompts),
        run=Run(steps=1, workers=0, masks=masks),
    )
    task = TuneTask(settings, build_model(preset, seed=0), open_dataset(labels))
    kept = Kept(task.model)
    (batch,) = task.batches()[0]
    with torch.autocast("cpu", torch.bfloat16), use_kernel("fused"), kept.counted():
        task.loss(batch, 0)
    weights = sum(parameter.numel() for parameter in task.model.parameters())
    learning = sum(parameter.numel() for parameter in task.model.parameters() if parameter.requires_grad)
    fixed = 4 * (weights + ADAM_AND_AVERAGE * learning)

    def gigabytes(parts: Counter[str]) -> dict[str, float]:
        return {name: round(size / 1e9, 3) for name, size in parts.items()}

    return {
        "prompts": len(batch.image_idx),
        "objects": int(batch.targets.counts.sum()),
        "weights_gb": round(4 * weights / 1e9, 3),
        "learning_gb": round(4 * ADAM_AND_AVERAGE * learning / 1e9, 3),
        "activations_gb": gigabytes(kept.parts),
        "short_gb": gigabytes(kept.short()),
        "total_gb": round((fixed + kept.parts.total()) / 1e9, 2),
        "total_short_gb": round((fixed + kept.short().total()) / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", choices=sorted(PRESETS))
    parser.add_argument("--case", choices=CASES, help="this one only")
    parser.add_argument("--prompts", type=int, default=16, help="of the picture (default: %(default)s)")
    parser.add_argument("--no-masks", action="store_true", help="train boxes and scores only")
    parser.add_argument("--json", action="store_true", help="print one JSON line per case instead of the table")
    arguments = parser.parse_args()
    side = PRESETS[arguments.preset].vision.image_size
    table = Table("GB", "weights", "learning", "activations", "total", "activations, short", "total, short")
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels"
        write_coco(labels, count=1, size_hw=(side, side), seed=2, split=TRAIN, questions=arguments.prompts)
        for case in [arguments.case] if arguments.case else CASES:
            found = measure(arguments.preset, case, arguments.prompts, labels, masks=not arguments.no_masks)
            if arguments.json:
                print(json.dumps({"benchmark": "tune_memory", "preset": arguments.preset, "case": case} | found))
                continue
            long, short = (sum(found[name].values()) for name in ("activations_gb", "short_gb"))
            numbers = (
                found["weights_gb"],
                found["learning_gb"],
                long,
                found["total_gb"],
                short,
                found["total_short_gb"],
            )
            table.add_row(case, *(f"{number:.2f}" for number in numbers))
    if not arguments.json:
        Console().print(table)


if __name__ == "__main__":
    main()
