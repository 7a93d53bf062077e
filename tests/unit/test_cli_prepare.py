"""`precision: auto` falls back to f32 where the parity gate refuses bf16, says so, and remembers it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import engines.build
from engines.build import Family
from engines.zoo import FAMILIES
from streamer.commands import prepare
from streamer.commands.worker import shares, usable_cpus
from streamer.config import Config, StreamConfig
from streamer.errors import ParityError


@dataclass(frozen=True, slots=True)
class FakeRecipe:
    name: str
    precision: str
    backend: str = "openvino"
    family: Family = FAMILIES[0]

    def digest(self) -> str:
        return f"{self.name}-{self.precision}".ljust(16, "0")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The builds that were asked for; bf16 of the model `vague` is refused."""
    asked: list[str] = []

    def recipe(model: str, heads: object, config: Config, precision: str) -> FakeRecipe:
        return FakeRecipe(model, "bf16" if precision == "auto" else precision)

    def ensure(recipe: FakeRecipe, cache_dir: Path, say: object) -> None:
        cache_dir.mkdir(parents=True, exist_ok=True)
        asked.append(f"{recipe.name} {recipe.precision}")
        if recipe.name == "vague" and recipe.precision == "bf16":
            raise ParityError(
                "scores 0.04 over 0.03", where="vague on openvino", mend="try another precision"
            )

    monkeypatch.setattr(prepare, "_recipe", recipe)
    monkeypatch.setattr(engines.build, "ensure_built", ensure)
    return asked


def wish(folder: Path, precision: str, *models: str) -> Config:
    streams = [
        StreamConfig(name=f"s{i}", url="world://street", model=model) for i, model in enumerate(models)
    ]
    return Config.model_validate({"streams": streams, "data_dir": folder, "precision": precision})


def test_what_passes_keeps_its_precision(tmp_path: Path, built: list[str]) -> None:
    assert prepare.prepare_engines(wish(tmp_path, "auto", "exact", "exact"), lambda line: None) == "auto"
    assert built == ["exact bf16"]


def test_a_refusal_means_f32_for_all_and_is_remembered(tmp_path: Path, built: list[str]) -> None:
    said: list[str] = []
    assert prepare.prepare_engines(wish(tmp_path, "auto", "exact", "vague"), said.append) == "f32"
    assert built == ["exact bf16", "vague bf16", "exact f32", "vague f32"]
    assert "scores 0.04 over 0.03: f32 is used instead, which is slower" in said
    built.clear()
    assert prepare.prepare_engines(wish(tmp_path, "auto", "vague"), lambda line: None) == "f32"
    assert built == ["vague f32"]


def test_a_precision_that_was_asked_for_is_not_replaced(tmp_path: Path, built: list[str]) -> None:
    with pytest.raises(ParityError, match=r"scores 0\.04"):
        prepare.prepare_engines(wish(tmp_path, "bf16", "vague"), lambda line: None)
    assert built == ["vague bf16"]


@pytest.mark.parametrize(
    ("lanes", "threads", "share"),
    [(None, None, None), (2, None, (2, 2)), (1, 4, (4, 1)), (None, 3, (3, 3)), (4, 2, (4, 4))],
)
def test_the_machine_is_shared_out_as_asked(
    lanes: int | None, threads: int | None, share: tuple[int, int] | None
) -> None:
    found = shares(lanes, threads)
    assert (found.threads, found.streams) == (share or (min(usable_cpus(), 8),) * 2)
