"""Training on a device that is not the CPU: nothing is left behind there, the numbers are the same, states change over.

The device is pretended (`pretend_gpu`): its operations refuse a forgotten tensor of the CPU as CUDA's do.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from engines.models.street_family import load_street
from engines.training import device as device_module
from engines.training import recording, street
from engines.training.clips import render_batches
from engines.training.device import CPU, autocast, cpu_has_bfloat16, device_for, device_of
from engines.training.recipe import PRESETS
from engines.training.rehearsal import as_labelled
from engines.training.silence import asked_labels, asked_rows
from engines.training.street import StreetRun, train_street
from streamer.errors import SightlineError
from tests.fakes.pretend_gpu import GPU, OnGpu, pretended

SMOKE = PRESETS["smoke"]
pytestmark = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")  # they have numbers


def test_the_pretended_gpu_refuses_what_cuda_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended(monkeypatch):
        there, here = torch.arange(4.0).to(GPU), torch.arange(4.0)
        assert isinstance(there, OnGpu) and (there.cpu() == here).all() and float((there * 2).sum()) == 12
        for wrong in (
            lambda: there + here,
            lambda: torch.cat((there, here)),
            lambda: here.gather(0, there.long()),
        ):
            with pytest.raises(RuntimeError, match="of the CPU among those of the GPU"):
                wrong()
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert (there + torch.tensor(1.0)).device == GPU  # a number without dimensions may come from anywhere
        assert there[torch.tensor([0, 2])].cpu().tolist() == [0, 2]


def test_a_step_on_the_device_makes_the_cpu_s_weights_and_states_change_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = list(itertools.islice(render_batches(SMOKE.plan(1)), 3))
    alone = StreetRun(SMOKE, 1)
    told = [alone.train_step(batch, 1e-3) for batch in batches]
    with pretended(monkeypatch) as gpu:
        run = StreetRun(SMOKE, 1, device=GPU)
        assert [run.train_step(batch, 1e-3) for batch in batches[:2]] == told[:2]
        assert gpu.operations > 1000 and device_of(run.model) == device_of(run.average.model) == GPU
        assert run.slots.hs.device == run.slots.valid.device == GPU
        run.save(tmp_path / "there.pt")
    home = StreetRun(SMOKE, 1)
    home.restore(tmp_path / "there.pt")  # from the device to the CPU
    assert home.train_step(batches[2], 1e-3) == told[2]
    second = StreetRun(SMOKE, 1)
    for batch in batches[:2]:
        second.train_step(batch, 1e-3)
    second.save(tmp_path / "here.pt")
    with pretended(monkeypatch):
        moved = StreetRun(SMOKE, 1, device=GPU)
        moved.restore(tmp_path / "here.pt")  # and back
        assert moved.train_step(batches[2], 1e-3) == told[2]
        states = [value for state in moved.optimizer.state.values() for value in state.values()]
        assert states and all(value.device == GPU for value in states)
        found = {name: t.cpu() for name, t in moved.average.model.state_dict().items()}
    for name, tensor in alone.average.model.state_dict().items():
        assert torch.equal(tensor, home.average.model.state_dict()[name]), name
        assert torch.equal(tensor, found[name]), name


def test_where_own_data_is_silent_is_known_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = as_labelled(next(render_batches(SMOKE.plan(2))), SMOKE.model.labels[:1])._replace(
        labels=next(render_batches(SMOKE.plan(2))).labels
    )
    assert batch.ignored is not None and batch.told is not None
    batch = batch._replace(told=batch.told.repeat(len(SMOKE.model.labels), axis=1))
    batch.ignored[:, :, :8] = True
    told = StreetRun(SMOKE, 2).train_step(batch, 1e-3)
    with pretended(monkeypatch):
        boxes, places = torch.rand(2, 2, 5, 4), torch.full((2, 2, 5), -1)
        rows = asked_rows(batch, boxes.to(GPU), places.to(GPU))
        assert rows.device == GPU and torch.equal(rows.cpu(), asked_rows(batch, boxes, places))
        labels = asked_labels(batch, GPU)
        assert labels is not None and labels.device == GPU
        assert StreetRun(SMOKE, 2, device=GPU).train_step(batch, 1e-3) == told


def test_a_whole_run_with_its_actions_leaves_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    short = dataclasses.replace(SMOKE, action_length=4, action_steps=2)
    monkeypatch.setitem(PRESETS, "smoke", short)
    monkeypatch.setattr(
        recording, "HELD", -1.0
    )  # one step teaches no boxes; any row will do to teach actions on
    with pretended(monkeypatch):
        monkeypatch.setattr(street, "cores", lambda: 2)
        done = train_street(
            "smoke", out=tmp_path, steps=1, device=GPU, watch=lambda news: seen.append(news.part)
        )
    assert seen[0] == "trunk" and seen.count("actions") > 4  # recorded, and taught
    assert all(torch.isfinite(t).all() for t in load_street(done.weights).state_dict().values())
    state = torch.load(tmp_path / street.CHECKPOINT, weights_only=True)
    assert state["step"] == 1 and all(t.device.type == "cpu" for t in state["model"].values())


@pytest.mark.parametrize(
    "instructions", [{}, {"avx512_bf16": True}, {"avx512_bf16": False, "amx_bf16": True}]
)
def test_a_processor_without_bfloat16_does_not_imitate_it(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool]
) -> None:
    """Imitated it is slower than float32, many times."""
    monkeypatch.setattr(device_module, "cpu_has_bfloat16", cpu_has_bfloat16.__wrapped__)
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"cpu_name": "bf16", "avx2": True, **instructions}
    )
    with autocast(CPU, True):
        assert (torch.eye(2) @ torch.eye(2)).dtype == (
            torch.bfloat16 if any(instructions.values()) else torch.float32
        )
    with autocast(CPU, False):
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32


def test_a_device_is_chosen_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for("auto").type == device_for("cpu").type == "cpu"
    with pytest.raises(SightlineError, match="torch sees no GPU"):
        device_for("cuda")
    with pytest.raises(SightlineError, match="'gpu' is no device"):
        device_for("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(device_for(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(SightlineError, match="torch sees 2 GPUs, there is no cuda:2"):
        device_for("cuda:2")
