"""Owns how the processes of one run agree: lanes dealt out to workers, gradients summed in the order of the lanes."""

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, distributed


@runtime_checkable
class Team(Protocol):
    """All processes that train one set of blocks; every call is made by all of them, in the same order."""

    @property
    def rank(self) -> int:
        """Number of this process; the first one writes what is written once."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def sum_lanes(self, own: Mapping[int, Float[Tensor, "p"]], num_lanes: int, size: int) -> Float[Tensor, "p"]:
        """The sum of one vector of `size` values per lane, in the order of the lanes; a lane without counts as zeros.

        Args:
            own: Vectors of the lanes of this process.
            num_lanes: Of the whole team.
            size: Values of each vector.
        """

    def gather(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each process has to say, in their order; plain values for JSON."""


def own_lanes(team: Team, num_lanes: int) -> list[int]:
    """The lanes that a process works on."""
    return list(range(team.rank, num_lanes, team.size))


class Alone:
    """One process works on all lanes."""

    rank = 0
    size = 1

    def sum_lanes(self, own: Mapping[int, Float[Tensor, "p"]], num_lanes: int, size: int) -> Float[Tensor, "p"]:
        """See `Team`."""
        return _sum_in_order(_stack(own, range(num_lanes), size, torch.device("cpu")))

    def gather(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See `Team`."""
        return [json.loads(json.dumps(record, allow_nan=False))]


class TorchTeam:
    """The processes of a torch.distributed group that somebody else has formed, with gloo or NCCL.

    Lane l belongs to process l mod W. All vectors are gathered and then summed by everybody in the same order: a sum
    formed on the way would depend on the number of processes.
    """

    def __init__(self, device: torch.device) -> None:
        """Vectors travel from and to this device: the GPU for NCCL."""
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._device = device

    def sum_lanes(self, own: Mapping[int, Float[Tensor, "p"]], num_lanes: int, size: int) -> Float[Tensor, "p"]:
        """See `Team`."""
        places = -(-num_lanes // self.size)
        lanes = [self.rank + place * self.size for place in range(places)]
        mine = _stack(own, lanes, size, self._device)
        all_of_them = [torch.zeros_like(mine) for _ in range(self.size)]
        distributed.all_gather(all_of_them, mine)
        return _sum_in_order(
            torch.stack([all_of_them[lane % self.size][lane // self.size] for lane in range(num_lanes)])
        )

    def gather(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See `Team`."""
        content = bytearray(json.dumps(record, allow_nan=False).encode())
        sizes = self._gather(torch.tensor([len(content)]))
        padded = torch.zeros(max(int(size) for size in sizes), dtype=torch.uint8)
        padded[: len(content)] = torch.frombuffer(content, dtype=torch.uint8)
        texts = self._gather(padded)
        return [json.loads(bytes(text[: int(size)].numpy())) for text, size in zip(texts, sizes, strict=True)]

    def _gather(self, mine: Tensor) -> list[Tensor]:
        mine = mine.to(self._device)
        all_of_them = [torch.zeros_like(mine) for _ in range(self.size)]
        distributed.all_gather(all_of_them, mine)
        return [each.cpu() for each in all_of_them]


def _stack(
    own: Mapping[int, Tensor], lanes: range | list[int], size: int, device: torch.device
) -> Float[Tensor, "l p"]:
    zeros = torch.zeros(size, device=device)
    return torch.stack([own[lane].to(device) if lane in own else zeros for lane in lanes])


def _sum_in_order(vectors: Float[Tensor, "l p"]) -> Float[Tensor, "p"]:
    total = vectors[0]
    for vector in vectors[1:]:
        total = total + vector
    return total
