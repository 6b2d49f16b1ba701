"""Several processes that train one model, as `torchrun` starts them; all the work is PyTorch's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from masklet.runtime import resolve_device

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Who trains together.

    Attributes:
        rank: number of this process; 0 writes files and speaks.
        world_size: how many there are.
        group: to communicate with; None for one alone.
    """

    rank: int = 0
    world_size: int = 1
    group: ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.group is not None:
            torch.distributed.barrier(self.group)

    def agree(self, wish: bool) -> bool:
        """What the first process wishes."""
        if self.group is None:
            return wish
        flag = torch.tensor([int(wish)])
        if torch.distributed.get_backend(self.group) == "nccl":
            flag = flag.cuda()
        torch.distributed.broadcast(flag, src=0, group=self.group)
        return bool(flag.item())


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """The processes that `torchrun` started, and the device of this one; alone and on `device` without it.

    On machines with CUDA every process takes a device of its own unless one is named.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(), resolve_device(device)
        return
    place = resolve_device(device)
    if place.type == "cuda" and ":" not in device:
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield (
            Processes(rank=torch.distributed.get_rank(), world_size=count, group=torch.distributed.group.WORLD),
            place,
        )
    finally:
        torch.distributed.destroy_process_group()
