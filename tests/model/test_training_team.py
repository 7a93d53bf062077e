"""Training processes that share a model: gradients are averaged, tracks come together, and a dead member is noticed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engines.models.street_family import load_street
from engines.training import street
from engines.training.team import Team
from streamer.errors import SightlineError


def in_two_threads(work: Callable[[Team], object], room: int = 16) -> list[object]:
    """Runs `work` as both members of a team of two and returns what they returned, in order of rank."""
    gradients, message, barrier = torch.zeros(2, room), torch.zeros(3), threading.Barrier(2)
    answers: list[object] = [None, None]

    def member(rank: int) -> None:
        answers[rank] = work(Team(rank, 2, gradients, message, barrier))

    other = threading.Thread(target=member, args=(1,))
    other.start()
    member(0)
    other.join()
    return answers


def test_all_members_end_with_the_mean_gradient() -> None:
    def work(team: Team) -> list[torch.Tensor]:
        model = torch.nn.Linear(2, 3)
        model.weight.grad = torch.full((3, 2), float(team.rank))
        model.bias.grad = None if team.rank == 0 else torch.full((3,), 4.0)  # an unused parameter counts as 0
        team.average_gradients(model)
        assert model.weight.grad is not None and model.bias.grad is not None
        return [model.weight.grad, model.bias.grad]

    for weight, bias in in_two_threads(work, room=9):
        assert torch.equal(weight, torch.full((3, 2), 0.5)) and torch.equal(bias, torch.full((3,), 2.0))


def test_gathered_tensors_keep_their_types_and_the_order_of_ranks() -> None:
    def work(team: Team) -> list[torch.Tensor]:
        return team.gather([torch.full((1, 2), float(team.rank)), torch.tensor([[-1, 999_999 + team.rank]])])

    for states, ids in in_two_threads(work):
        assert states.tolist() == [[0, 0], [1, 1]]
        assert ids.tolist() == [[-1, 999_999], [-1, 1_000_000]] and ids.dtype == torch.int64


def test_the_leader_s_word_reaches_the_others() -> None:
    def work(team: Team) -> object:
        return team.lead(True, 0.25, False) if team.rank == 0 else team.follow()

    assert in_two_threads(work)[1] == (True, 0.25, False)


def test_a_member_that_gives_up_ends_the_waiting_of_the_others() -> None:
    def work(team: Team) -> object:
        if team.rank == 1:
            team.abandon()
            return None
        with pytest.raises(SightlineError, match="a training process ended"):
            team.meet()
        return "noticed"

    assert in_two_threads(work)[0] == "noticed"


def test_two_processes_train_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(street.PRESETS["smoke"], processes=2)
    monkeypatch.setitem(street.PRESETS, "smoke", recipe)
    done = street.train_street("smoke", out=tmp_path, steps=2)
    assert done.steps == 2 and done.images == 2 * recipe.lanes * recipe.frames
    load_street(done.weights)
    members = [street.StreetRun(recipe, 0, rank) for rank in range(2)]
    for member in members:
        member.restore(tmp_path / street.CHECKPOINT)
    saved = torch.load(tmp_path / street.CHECKPOINT, weights_only=True)["slots"][0]
    assert len(saved) == recipe.lanes == 2
    assert all(torch.equal(member.slots.hs, saved[i : i + 1]) for i, member in enumerate(members))
