"""LoRA: every adapted layer acts, only the adapter learns, and what is written does what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from masklet.checkpoint import convert, describe, load_detector, load_model, save_native
from masklet.checkpoint.adapter import read_adapter, split_adapters
from masklet.checkpoint.save import save_adapter
from masklet.data.dataset import Dataset
from masklet.data.open import open_dataset
from masklet.data.transforms import PLAIN
from masklet.errors import CheckpointError, ConfigError
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco
from masklet.training.groups import learning_parameters
from masklet.training.loop import Loop
from masklet.training.lora import PARTS, LoraSettings, add_lora, plain_name
from masklet.training.settings import Run, Source, TrainSettings
from masklet.training.tune_task import TuneTask

CPU = torch.device("cpu")
SETTINGS = TrainSettings(
    train=Source(path="w"),
    base="base.safetensors",
    adapt="lora",
    lora=LoraSettings(rank=2, alpha=4, rate=100.0),
    run=Run(steps=3, images=2, warmup=0, cooldown=1, workers=0, ema=0.5, clip=10.0),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sheet: SpriteSheet) -> Dataset:
    folder = tmp_path_factory.mktemp("labels") / "w"
    write_coco(folder, count=5, size_hw=(64, 80), seed=3, split=TRAIN, questions=5, sheet=sheet)
    return open_dataset(folder)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    save_native(build_model("test", seed=0), path)
    return path


def run(world: Dataset, base: Path, folder: Path, settings: TrainSettings = SETTINGS) -> Loop:
    model = load_detector(base, dtype="float32")
    return Loop(TuneTask(settings, model, world, weights=base), folder, device=CPU, workers=0)


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def batch_loss(task: TuneTask) -> torch.Tensor:
    (batch,) = task.batches()[0]
    torch.manual_seed(0)
    loss, _ = task.loss(batch, 0)
    return loss


def test_at_first_the_adapter_changes_nothing(world: Dataset, base: Path) -> None:
    adapted = TuneTask(SETTINGS, load_detector(base), world)
    plain = TuneTask(replace(SETTINGS, adapt="full"), load_detector(base), world)
    assert torch.equal(batch_loss(adapted), batch_loss(plain))


def test_every_adapted_layer_acts_and_nothing_else_learns(world: Dataset, base: Path) -> None:
    model = load_detector(base)
    for parameter in model.decoder.box_head.layers[-1].parameters():
        parameter.data.fill_(0.1)  # fresh models have zeros there, which stop all gradients
    task = TuneTask(SETTINGS, model, world)
    batch_loss(task).backward()
    learning = learning_parameters(task.model)
    assert {name.partition(".lora_")[0] for name in learning} == {
        name
        for name, module in build_model("test").named_modules()
        if isinstance(module, nn.Linear) and name.partition(".")[0] in PARTS
    }
    # B starts at 0, so A has no gradient yet, but B has one wherever the layer is used at all.
    silent = [
        name for name, each in learning.items() if ".lora_B." in name and (each.grad is None or not each.grad.any())
    ]
    assert [name.partition(".lora_")[0] for name in silent] == [
        f"geometry_encoder.point_{part}"
        for part in ("direct", "pool", "position")  # nobody shows points here
    ]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_written_does_what_was_trained(world: Dataset, base: Path, tmp_path: Path, checkpointing: bool) -> None:
    settings = replace(SETTINGS, run=replace(SETTINGS.run, checkpointing=checkpointing, ema=0.0))
    loop = run(world, base, tmp_path / "run", settings)
    assert loop.run()
    merged = load_detector(f"{base}+{tmp_path / 'run' / 'weights.safetensors'}", dtype="float32")
    assert not states_equal(merged, load_detector(base))
    task = loop.task
    assert isinstance(task, TuneTask)
    full = TuneTask(replace(settings, adapt="full"), merged, world)
    # Adding B A to W before or after the product differs by rounding only.
    torch.testing.assert_close(batch_loss(full), batch_loss(task), rtol=1e-5, atol=0)
    assert states_equal(task.finished(loop.averages), merged)
    frozen = {
        plain_name(name.replace("_checkpoint_wrapped_module.", "")): each
        for name, each in task.model.named_parameters()
        if not each.requires_grad
    }
    before = load_detector(base).state_dict()
    assert frozen.keys() == before.keys()
    assert all(torch.equal(each, before[name]) for name, each in frozen.items())


def test_a_cut_run_ends_like_one_that_was_not_and_its_files_are_small(
    world: Dataset, base: Path, tmp_path: Path
) -> None:
    assert run(world, base, tmp_path / "whole").run()
    for _ in range(SETTINGS.run.steps):
        done = run(world, base, tmp_path / "cut").run(seconds=0.0)
    assert done
    whole, cut = (read_adapter(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert whole.pairs.keys() == cut.pairs.keys()
    for name, pair in whole.pairs.items():
        assert all(map(torch.equal, pair, cut.pairs[name])), name
    state = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)
    assert sum(each.numel() for each in state["model"].values()) == whole.parameters


def adapter_file(base: Path, path: Path, seed: int = 1, **settings: object) -> Path:
    """An adapter of random numbers."""
    shape = replace(LoraSettings(rank=2), **settings)  # type: ignore[arg-type]
    from masklet.training.lora import adapter_of

    model = load_detector(base, dtype="float32")
    add_lora(model, shape)
    generator = torch.Generator().manual_seed(seed)
    values = {
        name: torch.randn(each.shape, generator=generator) * 0.1 for name, each in learning_parameters(model).items()
    }
    save_adapter(adapter_of(model, values, shape, base.name), path)
    return path


def test_several_adapters_add_up_and_can_be_merged_for_good(base: Path, tmp_path: Path) -> None:
    first = adapter_file(base, tmp_path / "a.safetensors")
    second = adapter_file(Path(f"{base}+{first}"), tmp_path / "b.safetensors", seed=2, parts=("decoder",), alpha=3)
    both = load_model(f"{base}+{first}+{second}", dtype="float32", device="cpu")
    plain, one, two = load_detector(base).state_dict(), read_adapter(first), read_adapter(second)
    for name, tensor in both.state_dict().items():
        expected = plain[name].double()
        for adapter in (one, two):
            if name in adapter.pairs:
                down, up = adapter.pairs[name]
                expected = expected + adapter.scale * (up.double() @ down.double())
        torch.testing.assert_close(tensor.double(), expected, rtol=0, atol=1e-6)
    assert two.pairs.keys() <= one.pairs.keys() and two.scale == 1.5
    report = convert(f"{base}+{first}+{second}", tmp_path / "merged.safetensors", "native")
    assert states_equal(load_detector(tmp_path / "merged.safetensors"), both)
    assert any("added the adapter a.safetensors: rank 2" in note for note in report.notes)
    assert "adapter b.safetensors" in describe(f"{base}+{first}+{second}").notes[1]


def test_an_adapter_for_other_weights_is_told_and_for_another_model_refused(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = adapter_file(base, tmp_path / "a.safetensors")
    load_detector(f"{base}+{adapter}")
    assert not caplog.records
    other = tmp_path / "other.safetensors"
    save_native(build_model("test", seed=5), other)
    load_detector(f"{other}+{adapter}")
    assert "was made for other weights (base.safetensors)" in caplog.text
    with pytest.raises(CheckpointError, match="made for a model with the sizes of 'test', it does not fit"):
        load_model(f"default+{adapter}")


def test_names_with_a_plus_sign(tmp_path: Path, base: Path) -> None:
    odd = tmp_path / "a+b.safetensors"
    odd.write_bytes(base.read_bytes())
    assert split_adapters(odd) == (odd, ())
    assert split_adapters(f"{odd}+x.safetensors") == (str(odd), (Path("x.safetensors"),))
    assert split_adapters("default") == ("default", ())
    load_detector(odd)
    with pytest.raises(CheckpointError, match=r"missing\.safetensors: expected the file of an adapter, there is none"):
        load_model(f"{base}+missing.safetensors")
    with pytest.raises(CheckpointError, match="expected an adapter as `masklet train` writes it"):
        load_model(f"{base}+{odd}")
    adapter = adapter_file(base, tmp_path / "adapter.safetensors")
    with pytest.raises(CheckpointError, match=r"an adapter, which is no model of its own; .*BASE\+"):
        load_model(adapter)


def test_a_damaged_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from masklet.checkpoint.adapter import adapter_metadata, adapter_tensors

    adapter = read_adapter(adapter_file(base, tmp_path / "a.safetensors"))
    tensors, metadata = adapter_tensors(adapter), adapter_metadata(adapter)
    name = next(iter(tensors))
    for damage, facts in (
        ({**tensors, name: tensors[name][:1].contiguous()}, metadata),
        ({key: each for key, each in tensors.items() if key != name}, metadata),
        (tensors, {**metadata, "scale": "much"}),
        (tensors, {**metadata, "config": json.dumps({"nonsense": 1})}),
    ):
        save_file(damage, tmp_path / "bad.safetensors", facts)
        with pytest.raises(CheckpointError, match="a damaged adapter"):
            read_adapter(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "values",
    [{"rank": 0}, {"alpha": 0}, {"rate": 0.0}, {"dropout": 1.0}, {"parts": ()}, {"parts": ("vision",)}],
)
def test_settings_that_make_no_sense(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="lora"):
        LoraSettings(**values)  # type: ignore[arg-type]


def test_dropout_acts_while_training_only(world: Dataset, base: Path) -> None:
    def loss(dropout: float, training: bool) -> float:
        settings = replace(SETTINGS, lora=replace(SETTINGS.lora, dropout=dropout), augment=PLAIN)
        task = TuneTask(settings, load_detector(base), world)
        for name, each in learning_parameters(task.model).items():
            each.data = torch.full_like(each, 0.05 if ".lora_A." in name else 0.1)
        task.model.train(training)
        return float(batch_loss(task).detach())

    assert loss(0.5, training=True) != loss(0.0, training=True)
    assert loss(0.5, training=False) == loss(0.0, training=False)
    assert isinstance(load_detector(base), Detector)
