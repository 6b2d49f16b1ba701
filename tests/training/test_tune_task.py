"""Fine-tuning: what may change, that a cut run goes on, that both settings of memory give the same gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from masklet.checkpoint import load_detector, save_native
from masklet.data.dataset import Dataset
from masklet.data.open import open_dataset
from masklet.data.transforms import PLAIN
from masklet.errors import TrainingError
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco
from masklet.training import loop as loop_module
from masklet.training.distributed import joined
from masklet.training.loop import Loop
from masklet.training.settings import Replay, Run, Source, TrainSettings
from masklet.training.tune_task import TuneTask, freeze

CPU = torch.device("cpu")
WRAPPED = "._checkpoint_wrapped_module"
SETTINGS = TrainSettings(train=Source(path="w"), run=Run(steps=4, images=2, warmup=1, cooldown=1, workers=0, ema=0.5))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sheet: SpriteSheet) -> Dataset:
    folder = tmp_path_factory.mktemp("labels") / "w"
    write_coco(folder, count=5, size_hw=(64, 80), seed=3, split=TRAIN, questions=5, sheet=sheet)
    return open_dataset(folder)


def in_float32(device: torch.device) -> bool:
    """In the place of `runtime.multiplies_bfloat16`: other numbers of threads round bfloat16 sums very differently."""
    return False


class Recorded(TuneTask):
    """Writes the gradients of its first step to a file."""

    file: Path

    def update(self, step: int) -> float:
        if step == 0 and self._processes.first:
            named = self.model.named_parameters()
            torch.save({name: one.grad for name, one in named if one.grad is not None}, self.file)
        return super().update(step)


def run(world: Dataset, folder: Path, settings: TrainSettings = SETTINGS) -> Loop:
    return Loop(TuneTask(settings, build_model("test", seed=0), world), folder, device=CPU, workers=0)


def test_epochs_count_what_is_to_be_learned(world: Dataset) -> None:
    settings = replace(SETTINGS, run=replace(SETTINGS.run, steps=0, epochs=6))
    model = build_model("test", seed=0)
    assert TuneTask(settings, model, world).steps == 15  # 6 rounds through 5 pictures, 2 a step
    settings = replace(settings, replay=Replay(path="old", share=0.25))
    task = TuneTask(settings, model, world, replay=world)
    assert task.steps == 20
    assert task.batches()[0][0].pixels.shape[0] == 2


@pytest.mark.parametrize(
    ("adapt", "learns", "stays"),
    [
        ("full", ["vision_encoder", "text_encoder", "decoder", "scoring", "mask_head"], []),
        ("no-vision", ["text_encoder", "decoder", "scoring"], ["vision_encoder", "neck", "tracker_neck"]),
        ("no-text", ["vision_encoder", "neck", "decoder"], ["text_encoder"]),
        ("no-encoders", ["geometry_encoder", "fusion_encoder", "decoder"], ["vision_encoder", "neck", "text_encoder"]),
        ("heads", ["scoring", "mask_head", "decoder.box_head"], ["vision_encoder", "fusion_encoder", "decoder.layers"]),
    ],
)
def test_only_what_may_change_does(
    world: Dataset, tmp_path: Path, adapt: str, learns: list[str], stays: list[str]
) -> None:
    before = {name: one.clone() for name, one in build_model("test", seed=0).state_dict().items()}
    loop = run(world, tmp_path, replace(SETTINGS, adapt=adapt))  # type: ignore[arg-type]
    assert loop.run()
    changed = {name for name, one in loop.task.model.state_dict().items() if not torch.equal(one, before[name])}
    for part in learns:
        assert any(name.startswith(f"{part}.") for name in changed), part
    for part in [*stays, "tracker", "tracker_neck"]:
        assert not any(name.startswith(f"{part}.") for name in changed), part


def test_answers_beside_partial_labels_cost_nothing(world: Dataset) -> None:
    """Of a prompt whose labels are not all there, only matched queries learn a score."""

    def scored(exhaustive: bool) -> torch.Tensor:
        """(P, Q) bool: queries of the last layer whose score has a gradient."""
        pictures = [
            replace(picture, prompts=tuple(replace(one, exhaustive=exhaustive) for one in picture.prompts))
            for picture in world
        ]
        task = TuneTask(SETTINGS, build_model("test", seed=0), replace(world, pictures=tuple(pictures)))
        (batch,) = task.batches()[0]
        seen: list[torch.Tensor] = []

        def keep(module: object, arguments: object, logits: torch.Tensor) -> None:
            logits.retain_grad()
            seen.append(logits)

        task.model.scoring.register_forward_hook(keep)
        task.loss(batch, 0)[0].backward()
        (logits,) = seen
        assert logits.grad is not None
        return (logits.grad[-1, batch.targets.counts > 0] != 0) & (torch.arange(logits.shape[-1]) < 12)

    assert scored(exhaustive=True).sum(-1).min() == 12
    assert scored(exhaustive=False).sum(-1).max() < 12


def test_what_the_model_does_not_own_goes_along(world: Dataset, tmp_path: Path) -> None:
    """What is carried, and the tracker, are in the fine-tuned file as they were in the base."""
    base = tmp_path / "base.safetensors"
    save_native(build_model("test", seed=0), base)
    with safe_open(base, framework="pt") as file:
        metadata = file.metadata()
    carried = {"carried.tracker.no_mem_pos_enc": torch.rand(1, 1, 16)}
    save_file({**load_file(base), **carried}, base, metadata)
    for adapt in ("full", "heads"):
        settings = replace(SETTINGS, adapt=adapt)  # type: ignore[arg-type]
        task = TuneTask(settings, load_detector(base, dtype="float32"), world, weights=base)
        assert Loop(task, tmp_path / adapt, device=CPU, workers=0).run()
        tuned = load_file(tmp_path / adapt / "weights.safetensors")
        assert tuned.keys() == load_file(base).keys()
        kept = carried | {name: one for name, one in load_file(base).items() if name.startswith("tracker")}
        assert all(torch.equal(tuned[name], tensor) for name, tensor in kept.items())
        load_detector(tmp_path / adapt / "weights.safetensors")


def test_a_run_that_was_cut_ends_like_one_that_was_not(
    world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "LOG_EVERY", 1)
    whole = run(world, tmp_path / "whole")
    assert whole.run()
    for _ in range(SETTINGS.run.steps):
        done = run(world, tmp_path / "cut").run(seconds=0.0)
    assert done
    weights = [load_detector(tmp_path / name / "weights.safetensors").state_dict() for name in ("whole", "cut")]
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    with pytest.raises(TrainingError, match="choose another folder"):
        run(world, tmp_path / "cut", replace(SETTINGS, adapt="heads"))


def test_rates_are_those_of_the_schedule(world: Dataset) -> None:
    task = TuneTask(replace(SETTINGS, run=replace(SETTINGS.run, warmup=2, timescale=4)), build_model("test"), world)
    for group in task._optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    assert [task.update(step) for step in range(4)] == pytest.approx([0, 4e-5, 8e-5, 8e-5 * (4 / 5) ** 0.5])


def test_a_step_names_its_pictures(world: Dataset) -> None:
    settings = replace(SETTINGS, run=replace(SETTINGS.run, images=2, batches=2))
    task = TuneTask(settings, build_model("test"), world)
    names = task.made_of(1).split(", ")
    assert len(names) == 4
    assert all(Path(name).is_file() for name in names)
    assert set(names) | set(task.made_of(0).split(", ")) == {str(picture.path) for picture in world if picture.prompts}


def test_epochs_where_no_steps_are_named(world: Dataset) -> None:
    settings = replace(SETTINGS, run=replace(SETTINGS.run, steps=0, images=2, batches=3))
    assert TuneTask(settings, build_model("test"), world).steps == -(-20 * 5 // 6)


def test_without_masks_and_one_to_many(world: Dataset) -> None:
    settings = replace(SETTINGS, augment=PLAIN, run=replace(SETTINGS.run, masks=False, one_to_many=False))
    task = TuneTask(settings, build_model("test", seed=0), world)
    (batch,) = task.batches()[0]
    loss, terms = task.loss(batch, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert not any("mask" in name or "semantic" in name or "one_to_many" in name for name in terms)
    assert {"l1", "giou", "classification", "presence", "l1_aux_0"} <= set(terms)


def test_rounds_are_added_up(world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round is the plain loss; each more is that of what was shown since."""
    encoded = []
    totals = []
    for rounds in (0, 2):
        settings = replace(SETTINGS, prompts=replace(SETTINGS.prompts, rounds=rounds))
        task = TuneTask(settings, build_model("test", seed=0), world)
        (batch,) = task.batches()[1]
        encode = task.model.encode_image
        monkeypatch.setattr(task.model, "encode_image", lambda *a, encode=encode: (encoded.append(1), encode(*a))[1])
        torch.manual_seed(0)
        loss, terms = task.loss(batch, 1)
        loss.backward()
        totals.append((float(loss.detach()), {name: float(one) for name, one in terms.items()}))
    (plain, first), (summed, terms) = totals
    assert len(encoded) == 2
    assert terms.pop("last_round") > 0
    assert terms == pytest.approx(first)
    assert summed > 2 * plain  # a model without training is no better after three rounds


def test_checkpointing_changes_no_gradient_and_no_name(world: Dataset) -> None:
    gradients = []
    for checkpointing in (False, True):
        settings = replace(SETTINGS, run=replace(SETTINGS.run, checkpointing=checkpointing))
        task = TuneTask(settings, build_model("test", seed=0), world)
        (batch,) = task.batches()[0]
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, held=held: (held.append(x.numel()), x)[1], lambda x: x):
            loss, _ = task.loss(batch, 0)
        loss.backward()
        named = task.model.named_parameters()
        gradients.append({name.replace(WRAPPED, ""): one.grad for name, one in named if one.grad is not None})
        assert set(task.model.state_dict()) == set(build_model("test").state_dict())
        gradients[-1]["held"] = torch.tensor(float(sum(held)))
    plain, again = gradients
    assert again.pop("held") < 0.8 * plain.pop("held")  # in so small a model neck and mask head hold the most
    assert set(plain) == set(again)
    for name, one in plain.items():
        torch.testing.assert_close(again[name], one, msg=name)


def test_two_processes_learn_as_one_does(world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures a step: one after the other in one process, or one each in two that talk by gloo."""
    monkeypatch.setattr(loop_module, "multiplies_bfloat16", in_float32)
    settings = replace(SETTINGS, run=replace(SETTINGS.run, images=1, batches=2, clip=1e9))
    task = Recorded(settings, build_model("test", seed=0), world)
    task.file = tmp_path / "one" / "gradients.pt"
    assert Loop(task, tmp_path / "one", device=CPU, workers=0).run()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, world.source, tmp_path / "two"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Gradients and not weights: where a true gradient is 0, AdamW makes a whole step of its rounding.
    one, two = (torch.load(tmp_path / name / "gradients.pt") for name in ("one", "two"))
    assert one.keys() == two.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    for name, gradient in one.items():
        # Float32 sums in another order: 1e-5 of the parameter's own gradients, 1e-7 of all where those cancel.
        limit = 1e-5 * float(gradient.abs().max()) + 1e-7 * largest
        assert float((gradient - two[name]).abs().max()) <= limit, name
    assert (tmp_path / "two" / "weights.safetensors").exists()


def test_frozen_parts_cost_no_gradient() -> None:
    model = build_model("test")
    freeze(model, "no-encoders")
    assert not model.encode_image(torch.zeros(1, 3, 84, 84)).levels[-1].requires_grad
    freeze(model, "full")
    frozen = {name.partition(".")[0] for name, one in model.named_parameters() if not one.requires_grad}
    assert frozen == {"tracker", "tracker_neck"}
    assert not any(one.requires_grad for part in (model.tracker, model.tracker_neck) for one in part.parameters())


if __name__ == "__main__":  # one of two processes: LABELS FOLDER
    loop_module.multiplies_bfloat16 = in_float32
    with joined("cpu") as (processes, device):
        one_batch = replace(SETTINGS, run=replace(SETTINGS.run, images=1, batches=1, clip=1e9))
        task = Recorded(one_batch, build_model("test", seed=0), open_dataset(sys.argv[1]), processes)
        task.file = Path(sys.argv[2]) / "gradients.pt"
        Loop(task, Path(sys.argv[2]), device=device, workers=0, processes=processes).run()
