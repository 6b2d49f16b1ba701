"""Teaches the default model five symbols by new names from 20 pictures each, with LoRA, and says what that changed.

python examples/finetune.py

The symbols are of those whose names the default model has never read. Pictures go to out/finetune/train and
out/finetune/test; the test has backgrounds and colours that no training shows. Then `masklet train
examples/finetune.toml` learns an adapter, with now and then a picture of out/finetune/old, which asks what the model
knows. Both models answer the same questions about test pictures: the five new names, and what the model knew before.
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import masklet
from masklet import ImagePredictor
from masklet.data.open import open_dataset
from masklet.evaluation.validation import validator
from masklet.inference.frame_result import draw_results
from masklet.ops.masks import encode_rle
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, TRAIN, Split, make_scene
from masklet.synthetic.writer import write_coco

NAMES = ("nazar amulet", "curling stone", "moon cake", "orangutan", "film projector")
EACH = 20  # pictures of every symbol
OLD = 100  # pictures of what is not to be forgotten
SIZE_HW = (336, 336)  # pixels
FIRST_SEED = 500_000  # far from what the default model was trained and measured on
SETTINGS = Path(__file__).with_suffix(".toml")
OUT = Path("out/finetune")


def write_labelled(
    split: Split, folder: Path, *, names: Sequence[str] = NAMES, each: int = EACH, sheet: SpriteSheet | None = None
) -> None:
    """A COCO data set that shows every symbol in `each` pictures or more; nothing else in them is labelled."""
    categories = {name: number for number, name in enumerate(names, start=1)}
    pictures, objects = [], []
    wanted = dict.fromkeys(names, each)
    (folder / "images").mkdir(parents=True)
    for seed in itertools.count(FIRST_SEED):
        if not any(wanted.values()):
            break
        scene, _ = make_scene(split, seed, SIZE_HW, questions=0, sheet=sheet)
        shown = [scene.symbols[instance.symbol_idx].name for instance in scene.instances]
        if not any(wanted.get(name, 0) for name in shown):
            continue
        file = f"images/{seed}.png"
        Image.fromarray(scene.image).save(folder / file)
        pictures.append({"id": seed, "file_name": file, "height": SIZE_HW[0], "width": SIZE_HW[1]})
        for name, mask in zip(shown, scene.masks(), strict=True):
            if name in categories:
                objects.append({"image_id": seed, "category_id": categories[name], "segmentation": encode_rle(mask)})
        for name in set(shown) & set(names):
            wanted[name] = max(0, wanted[name] - 1)
    document = {
        "images": pictures,
        "annotations": objects,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")


def compare(before: str, after: str, console: Console) -> None:
    """Prints how well both models answer about the test pictures."""
    table = Table("what is asked", "model", "cgF1", "F1@0.5", "precision", "recall", "IL_MCC")
    for what, folder in (("the new names", "test"), ("what it knew before", "known")):
        measure = validator(open_dataset(OUT / folder, format="coco"))
        for row, (name, model) in enumerate((("before", before), ("after", after))):
            figures = measure(masklet.load_model(model, dtype="float32"))
            shown = (figures[key] for key in ("cgF1", "F1@0.5", "precision@0.5", "recall@0.5", "IL_MCC"))
            table.add_row("" if row else what, name, *(f"{value:.3f}" for value in shown))
        table.add_section()
    console.print(table)


def draw(before: str, after: str) -> Path:
    """A picture of both models' answers to the five names, one column for each."""
    dataset = open_dataset(OUT / "test", format="coco")
    columns = []
    for name in NAMES:
        picture = next(
            each for each in dataset if len(next(p for p in each.prompts if p.phrase == name).instance_idx) > 1
        )
        rows = []
        for model in (before, after):
            result = ImagePredictor(masklet.load_model(model)).segment(picture.path, name)
            rows.append(np.asarray(draw_results([result], picture.path)))
        columns.append(np.concatenate(rows))
    path = OUT / "before_and_after.png"
    Image.fromarray(np.concatenate(columns, axis=1)).save(path)
    return path


def main() -> None:
    start = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    console = Console(highlight=False)
    with console.status("making pictures"):
        write_labelled(TRAIN, OUT / "train")
        write_labelled(EVALUATION, OUT / "test")
        write_coco(OUT / "old", count=OLD, size_hw=SIZE_HW, seed=FIRST_SEED, split=TRAIN, questions=5)
        write_coco(OUT / "known", count=100, size_hw=SIZE_HW, seed=FIRST_SEED, split=EVALUATION, questions=3)
    line = [sys.executable, "-m", "masklet", "train", str(SETTINGS), "--out", str(OUT / "run")]
    after = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    adapter = OUT / "run" / "weights.safetensors"
    console.print(
        f"{adapter}: {adapter.stat().st_size / 1e6:.1f} MB, trained after {time.perf_counter() - start:.0f} s"
    )
    compare("default", after, console)
    console.print(f"{draw('default', after)}: above before, below after")
    console.print(
        f"{time.perf_counter() - start:.0f} s in all; masklet segment PHOTO -c 'curling stone' --model {after}"
    )


if __name__ == "__main__":
    try:
        main()
    except (masklet.errors.MaskletError, subprocess.CalledProcessError) as error:
        sys.exit(f"finetune: {error}")
