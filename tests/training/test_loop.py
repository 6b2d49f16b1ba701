"""The loop with a task of one number: what it does for any task."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from masklet.checkpoint import load_detector, save_native
from masklet.checkpoint.load import with_state
from masklet.errors import OutputError, TrainingError
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.training import loop as loop_module
from masklet.training.loop import Loop

CPU = torch.device("cpu")


class Numbers(Dataset[tuple[Tensor, ...]]):
    """Step numbers as batches; the process that makes `fatal` dies there."""

    def __init__(self, fatal: int | None, parts: int) -> None:
        self.fatal = fatal
        self.parts = parts

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        if step == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return tuple(torch.tensor(float(step)) for _ in range(self.parts))


class OneBias:
    """Moves one bias of the smallest model by the batch and a random number."""

    def __init__(self, *, steps: int = 6, fatal: int | None = None, parts: int = 1) -> None:
        self.model = build_model("test", seed=0)
        self.modules = {"model": self.model}
        self.steps, self.ema, self.fatal, self.parts = steps, 0.9, fatal, parts
        self.loads_after = ""
        self.bias = self.model.decoder.norm_out.bias
        self.optimizer = torch.optim.SGD([self.bias], lr=0.01, momentum=0.9)
        self.seen: list[tuple[float, float]] = []

    def finished(self, learned: Mapping[str, Tensor]) -> Detector:
        return with_state(self.model.config, {**self.model.state_dict(), **learned})

    def write(self, learned: Mapping[str, Tensor], path: Path) -> None:
        save_native(self.finished(learned), path)

    def batches(self) -> Dataset[tuple[Tensor, ...]]:
        return Numbers(self.fatal, self.parts)

    def stage(self, step: int) -> tuple[str, int]:
        return "only", step

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        noise = torch.rand(())
        self.seen.append((float(batch), float(noise)))
        loss = (self.bias * (batch + noise)).sum()
        return loss, {"noise": noise}

    def clip(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_([self.bias], 1.0)

    def update(self, step: int) -> float:
        self.optimizer.step()
        self.optimizer.zero_grad()
        return 0.01

    def made_of(self, step: int) -> str:
        return f"the number {step}"

    def optimizer_state(self) -> Any:
        return self.optimizer.state_dict()

    def load_optimizer_state(self, state: Any) -> None:
        self.optimizer.load_state_dict(state)

    def description(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def begun(self, step: int) -> str:
        return "always the same"


@pytest.mark.parametrize("save_every", [0.0, 1e9])
def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path: Path, save_every: float) -> None:
    """A process that the system kills at a step goes on there, or from the start if it was not yet time for a state."""
    whole = OneBias()
    uncut = Loop(whole, tmp_path / "whole", device=CPU, workers=0)
    assert uncut.run()
    kill_at = 4
    done = subprocess.run([sys.executable, __file__, tmp_path / "cut", str(kill_at), str(save_every)], check=False)
    assert done.returncode == -signal.SIGKILL
    again = OneBias()
    loop = Loop(again, tmp_path / "cut", device=CPU, workers=0)
    assert loop.step == (kill_at if save_every == 0 else 0)
    assert loop.run()
    assert again.seen == whole.seen[-len(again.seen) :]
    assert torch.equal(again.bias, whole.bias)
    assert all(torch.equal(ours, uncut.averages[name]) for name, ours in loop.averages.items())


def test_gradients_of_batches_are_averaged(tmp_path: Path) -> None:
    """Three equal batches of a step give the gradient of one, apart from the random numbers that each draws."""
    many = OneBias(steps=1, parts=3)
    before = many.bias.detach().clone()
    Loop(many, tmp_path, device=CPU, workers=0).run()
    assert len(many.seen) == 3
    expected = sum(batch + noise for batch, noise in many.seen) / 3
    step = torch.full_like(before, expected)
    step = step / max(1.0, float(step.norm()))  # clipped
    torch.testing.assert_close(before - many.bias, 0.01 * step)


def test_curves_hold_what_the_logs_hold_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    monkeypatch.setattr(loop_module, "LOG_EVERY", 1)

    def run(seconds: float | None = None) -> None:
        Loop(OneBias(steps=3), tmp_path, device=CPU, workers=0, validate=lambda _: {"good": 0.5}, tensorboard=True).run(
            seconds=seconds
        )

    run(seconds=0.0)
    run()
    written: list[tuple[int, str, float]] = []
    purged: list[int] = []
    for path in sorted((tmp_path / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:  # TFRecord: length, its checksum, record, its checksum
            length = int.from_bytes(content[:8], "little")
            assert int.from_bytes(content[8:12], "little") == masked_crc32c(content[:8])
            event = Event.FromString(content[12 : 12 + length])
            written += [(event.step, each.tag, each.simple_value) for each in event.summary.value]
            purged += [event.step] if event.HasField("session_log") else []
            content = content[16 + length :]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    noise = {step: value for step, tag, value in written if tag == "training/noise"}
    assert noise == pytest.approx({line["step"]: line["noise"] for line in lines}, rel=1e-3)
    assert [step for step, tag, _ in written if tag == "training/loss"] == [1, 2, 3]
    assert [(step, value) for step, tag, value in written if tag == "validation/good"] == [(3, 0.5)]
    assert purged == [0, 1]


def test_validation_keeps_the_best(tmp_path: Path) -> None:
    figures = iter([0.1, 0.5, 0.3])
    seen: list[torch.Tensor] = []

    def validate(model: Detector) -> dict[str, float]:
        seen.append(model.decoder.norm_out.bias.detach().clone())
        return {"good": next(figures), "other": 1.0}

    task = OneBias(steps=5)
    loop = Loop(task, tmp_path, device=CPU, workers=0, validate=validate, validate_every=2)
    assert loop.run()
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [(line["step"], line["good"]) for line in lines] == [(2, 0.1), (4, 0.5), (5, 0.3)]
    assert torch.equal(load_detector(tmp_path / "best.safetensors").decoder.norm_out.bias, seen[1])
    assert torch.equal(load_detector(tmp_path / "weights.safetensors").decoder.norm_out.bias, seen[2])


def test_a_killed_worker_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    task = OneBias(fatal=3)
    with pytest.raises(TrainingError, match="a process that makes batches has died at step"):
        Loop(task, tmp_path, device=CPU, workers=1).run()
    again = OneBias()
    loop = Loop(again, tmp_path, device=CPU, workers=0)
    assert loop.step == len(task.seen) <= 3
    assert loop.run()
    whole = OneBias()
    Loop(whole, tmp_path / "whole", device=CPU, workers=0).run()
    assert task.seen + again.seen == whole.seen
    assert torch.equal(again.bias, whole.bias)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    task = OneBias()
    healthy = task.loss
    task.loss = lambda batch, step: healthy(batch * (math.inf if step == 3 else 1), step)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"not finite at step 3 .*made of the number 3"):
        Loop(task, tmp_path, device=CPU, workers=0).run()
    assert torch.isfinite(task.bias).all()
    again = OneBias()  # mended
    loop = Loop(again, tmp_path, device=CPU, workers=0)
    assert loop.step == 3
    assert torch.equal(again.bias, task.bias)
    assert loop.run()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(OneBias(), tmp_path, device=CPU, workers=0)
    assert loop.run()
    before = (tmp_path / "state.pt").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        loop.save()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.json", "state.pt", "weights.safetensors"]


if __name__ == "__main__":  # a run that kills itself: FOLDER STEP SECONDS_BETWEEN_STATES
    loop_module.SAVE_EVERY = float(sys.argv[3])
    loop_module.SAVING_SHARE = 0
    Loop(OneBias(fatal=int(sys.argv[2])), Path(sys.argv[1]), device=CPU, workers=0).run()
