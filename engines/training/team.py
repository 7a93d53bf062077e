"""Several processes, one thread each, that train one model together: each takes some lanes, and gradients are averaged.

On a CPU this is faster than one process with several threads, because the decoder's many small operations do not wait
for each other's threads, and far steadier on a machine that has other work: two threads that share a step wait for each
other thousands of times in it, two processes once. All members hold the same weights and make the same update.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.synchronize
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from streamer.errors import SightlineError

PATIENCE_S = 300.0  # a member that has not come to the meeting point by then is taken for dead
GO, RATE, SAVE = 0, 1, 2  # places in the leader's message


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen, in the module's order."""
    return [p for p in model.parameters() if p.requires_grad]


class Team:
    """What one member sees: its `rank`, the team's `size`, and shared memory in which all of them meet."""

    def __init__(
        self,
        rank: int,
        size: int,
        gradients: Tensor,
        message: Tensor,
        barrier: multiprocessing.synchronize.Barrier,
    ) -> None:
        self.rank, self.size = rank, size
        self._gradients = gradients  # f32 (size, all parameters in a row)
        self._message = message  # f32 (3,)
        self._barrier = barrier

    def lead(self, go: bool, learning_rate: float, save: bool) -> None:
        """The leader says what happens next; all members must be waiting in `follow`."""
        self._message[GO], self._message[RATE], self._message[SAVE] = float(go), learning_rate, float(save)
        self.meet()

    def follow(self) -> tuple[bool, float, bool]:
        """Waits for the leader's word: go on, learning rate, save."""
        self.meet()
        go, rate, save = self._message.tolist()
        return bool(go), rate, bool(save)

    def meet(self) -> None:
        """Waits until every member is here."""
        try:
            self._barrier.wait(PATIENCE_S)
        except threading.BrokenBarrierError:
            raise SightlineError(
                "a training process ended or hangs", where="training", mend="resume from the checkpoint"
            ) from None

    def average_gradients(self, model: nn.Module) -> None:
        """Replaces each member's gradients with the mean over the team; a trained parameter without one counts as 0."""
        parameters = trained(model)
        mine = self._gradients[self.rank]
        pieces = torch.split(mine, [p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            piece.view(parameter.shape).copy_(parameter.grad)
        self.meet()
        pieces = torch.split(self._gradients.mean(0), [p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(piece.view(parameter.shape))
        self.meet()  # nobody writes the next step's gradients while another still reads these

    def gather(self, tensors: list[Tensor]) -> list[Tensor]:
        """Each tensor of all members, joined along the first dimension in order of rank. All members call it.

        Uses the room for gradients; integers must be exact in float32.
        """
        mine = torch.cat([t.detach().float().flatten() for t in tensors])
        self._gradients[self.rank, : len(mine)] = mine
        self.meet()
        joined, start = [], 0
        for tensor in tensors:
            pieces = self._gradients[:, start : start + tensor.numel()]
            joined.append(pieces.reshape(-1, *tensor.shape[1:]).to(tensor.dtype))
            start += tensor.numel()
        self.meet()
        return joined

    def abandon(self) -> None:
        """Lets every waiting member fail at once instead of after its patience."""
        self._barrier.abort()


@contextlib.contextmanager
def team_of(
    size: int, parameters: int, member: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[Team | None]:
    """Starts `size - 1` processes that run `member(team, *arguments)` and yields the leader's own Team.

    None for a team of one. On the way out the members are given a moment to end by themselves.
    """
    if size == 1:
        yield None
        return
    context = torch.multiprocessing.get_context("spawn")
    gradients, message = _shared(size, parameters), _shared(3)
    barrier = context.Barrier(size)
    teams = [Team(rank, size, gradients, message, barrier) for rank in range(size)]
    processes = [context.Process(target=member, args=(team, *arguments), daemon=False) for team in teams[1:]]
    for process in processes:
        process.start()
    try:
        yield teams[0]
    except BaseException:
        teams[0].abandon()
        raise
    finally:
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.terminate()
                process.join()


def _shared(*shape: int) -> Tensor:
    """Zeros, f32, in memory that all processes see."""
    tensor: Tensor = torch.zeros(*shape).share_memory_()  # type: ignore[no-untyped-call]
    return tensor
