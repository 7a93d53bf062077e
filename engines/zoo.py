"""Names → weights, cards, engines and tasks. The way in for everyone who wants a model and not its making."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.backends.registry import Lanes
from engines.build import Family, Recipe, ensure_built, load
from engines.build.contents import files
from engines.build.heads import heads_of, with_heads
from engines.build.precision import resolve_for
from engines.build.recipe import Head, header
from engines.hub.address import SCHEME, parse
from engines.hub.family import family_of
from engines.hub.reading import read
from engines.hub.resolve import resolve
from engines.own.family import own_family
from engines.tasks.act import ActTask
from engines.tasks.classify import ClassifyTask
from engines.tasks.detect import DetectTask
from engines.tasks.followed import followed
from engines.tasks.heads import BoxesTask, YoloTask
from engines.tasks.panoptic import PanopticTask
from engines.tasks.query_tracks import QueryTrackTask
from engines.tasks.semantic import SemanticTask
from engines.tasks.track import TrackTask
from streamer.errors import EngineError
from streamer.model_names import FORMS
from streamer.ports import Engine, EngineSpec, Task

WEIGHTS = Path(__file__).parent / "weights"

# Parts that may run in 16 bits; of a list of modules, all of it. Those that a variant has not are passed over.
_BLOCKS = ("blocks",)
_TRUNK = ("backbone.blocks",)
_DECODER = ("decode_head.steps", "decode_head.level", "neck.smooth")

FAMILIES: tuple[Family, ...] = (
    Family(
        name="street",
        format="sightline.street/1",
        loader="engines.models.street_family:load_street",
        task="track",
        stages="engines.models.street_stages",
        gate="engines.build.parity",
        low_precision_parts=("backbone", "context", "pyramid", "detail"),
        heads=(
            Head("masks", "masks", always=True),
            Head("keypoints", "keypoint_names"),
            Head("semantic", "semantic_labels"),
            Head("actions", "action_labels"),
        ),
    ),
    Family(
        name="detr",
        format="sightline.detr/1",
        loader="engines.models.detr:load_detr",
        task="detect",
        low_precision_parts=("backbone", "input_proj", "transformer.encoder"),
    ),
    Family(
        name="detr-panoptic",
        format="sightline.detr-panoptic/1",
        loader="engines.models.detr_masks:load_detr_masks",
        task="panoptic",
        gate="engines.build.chosen",
        low_precision_parts=("detr.backbone", "detr.input_proj", "detr.transformer.encoder", "mask_head"),
    ),
    Family(
        name="vit",
        format="sightline.vit/1",
        loader="engines.models.vit:load_vit",
        task="classify",
        low_precision_parts=_BLOCKS,
    ),
    Family(
        name="setr",
        format="sightline.setr/1",
        loader="engines.models.setr:load_setr",
        task="semantic",
        low_precision_parts=(*_TRUNK, *_DECODER),
    ),
    Family(
        name="vtn",
        format="sightline.vtn/1",
        loader="engines.models.vtn:load_vtn",
        task="act",
        stages="engines.models.vtn_stages",
        low_precision_parts=_TRUNK,
    ),
    Family(
        name="trackformer",
        format="sightline.trackformer/1",
        loader="engines.models.trackformer:load_trackformer",
        task="query-track",
        stages="engines.models.trackformer_stages",
        low_precision_parts=("backbone", "input_proj"),
    ),
    Family(
        name="trackformer-detr",
        format="sightline.trackformer-detr/1",
        loader="engines.models.trackformer_detr:load_trackformer_detr",
        task="query-track",
        stages="engines.models.trackformer_stages",
        low_precision_parts=("backbone", "input_proj", "transformer.encoder"),
    ),
)

_TASKS: Mapping[str, Callable[[EngineSpec], Task[Any]]] = {
    "act": ActTask.from_spec,
    "classify": ClassifyTask.from_spec,
    "boxes": followed(BoxesTask.from_spec),
    "detect": followed(DetectTask.from_spec),
    "panoptic": PanopticTask.from_spec,
    "query-track": QueryTrackTask.from_spec,
    "semantic": SemanticTask.from_spec,
    "track": TrackTask.from_spec,
    "yolo": followed(YoloTask.from_spec),
}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A shipped model: its name, file and family, and what its card says (data, recipe, seed, measured numbers)."""

    name: str
    weights: Path
    family: str
    task: str
    size_bytes: int
    config: Mapping[str, Any]
    card: Mapping[str, Any]


def list_models() -> list[ModelCard]:
    """The models shipped with this version and those that were imported, by name."""
    return [_card(weights) for folder in _folders() for weights in sorted(folder.glob("*.safetensors"))]


def describe(model: str) -> dict[str, Any]:
    """What is known of a model in any form, as plain JSON: name, family, task, weights, size, config, card."""
    name, weights, family = found(model)
    if weights.suffix != ".safetensors":
        size = sum(path.stat().st_size for path in files(weights))
        plain = {"name": name, "family": family.name, "task": family.task, "weights": str(weights)}
        return {**plain, "size_bytes": size, "config": {}, "card": {}, "heads": []}
    card = _card(weights)
    return {
        "name": card.name,
        "family": card.family,
        "task": card.task,
        "weights": str(card.weights),
        "size_bytes": card.size_bytes,
        "config": dict(card.config),
        "card": dict(card.card),
        "heads": list(heads_of(family, card.config)),
    }


def _card(weights: Path) -> ModelCard:
    family = _family(weights)
    card = weights.with_suffix(".json")
    return ModelCard(
        name=weights.stem,
        weights=weights,
        family=family.name,
        task=family.task,
        size_bytes=weights.stat().st_size,
        config=_config(weights),
        card=json.loads(card.read_text()) if card.exists() else {},
    )


def _config(weights: Path) -> dict[str, Any]:
    """What the weights say of their model's shapes."""
    config: dict[str, Any] = json.loads(header(weights).get("config", "{}"))
    return config


def _folders() -> tuple[Path, ...]:
    """Where named models lie: the shipped ones first, then what `sightline models import` wrote."""
    return WEIGHTS, _default_cache().with_name("models")


def open_engine(
    model: str,
    *,
    backend: str = "openvino",
    precision: str = "auto",
    max_batch_size: int = 8,
    threads: int | None = None,
    streams: int = 1,
    heads: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Engine:
    """A model by name (see `list_models`), file or address (see `found`), ready to infer.

    Built and compared with its reference if the cache does not have it; `on_progress` is told which, a line a step.
    `streams` is how many calls of `infer` run side by side, on `threads` threads in all (None: every usable CPU).
    `heads` beside boxes and tracks, such as ("masks", "keypoints", "semantic", "actions"); None: all the weights have.
    `cache_dir` None is `engines` in the data folder. Raises EngineError or ParityError, one line.
    """
    artefact = ensure_built(
        recipe_for(
            model,
            backend=backend,
            precision=precision,
            max_batch_size=max_batch_size,
            threads=threads,
            streams=streams,
            heads=heads,
        ),
        cache_dir or _default_cache(),
        on_progress,
    )
    return load(artefact)


def recipe_for(
    model: str,
    *,
    backend: str = "openvino",
    precision: str = "auto",
    max_batch_size: int = 8,
    threads: int | None = None,
    streams: int = 1,
    heads: Sequence[str] | None = None,
) -> Recipe:
    """What `open_engine` would build; arguments as there."""
    if max_batch_size < 1:
        raise EngineError(f"max_batch_size {max_batch_size} holds no picture", mend="give 1 or more")
    name, weights, family = found(model)
    if heads is not None:
        family = with_heads(family, _config(weights) if family.heads else {}, heads, model)
    return Recipe(
        name=name,
        weights=weights,
        family=family,
        backend=backend,
        precision=resolve_for(family, backend, precision),
        max_batch_size=max_batch_size,
        lanes=Lanes.of(threads, streams),
    )


def found(model: str) -> tuple[str, Path, Family]:
    """A model in any of its forms: its name, its file or folder, and what is to be built of it.

    The forms: a name of `list_models`, a .safetensors file, `hf://…` (engines/hub), an .onnx file with its card beside
    it (engines/own). Raises EngineError, or ConfigError for mistakes in a card, a line each.
    """
    if model.startswith(SCHEME):
        address = parse(model)
        folder = resolve(address)
        return address.name, folder, family_of(read(folder), address)
    if "://" in model:
        raise EngineError(
            f"{model.partition('://')[0]}: is no scheme that a model can have",
            where=model,
            mend=f"write {FORMS}",
        )
    if model.endswith(".onnx"):
        graph = Path(model).expanduser().absolute()
        return graph.stem, graph, own_family(graph)
    weights = find_weights(model)
    return weights.stem, weights, _family(weights)


def find_weights(model: str) -> Path:
    """The weights file of a name or path; an unknown name raises EngineError that lists the known ones."""
    if model.endswith(".safetensors") or "/" in model:
        path = Path(model).expanduser()
        if not path.is_file():
            raise EngineError("the weights file does not exist", where=str(path))
        return path.resolve()
    for folder in _folders():
        if (path := folder / f"{model}.safetensors").is_file():
            return path
    known = ", ".join(p.stem for f in _folders() for p in sorted(f.glob("*.safetensors"))) or "none"
    raise EngineError(
        f"model {model!r} is unknown", mend=f"known: {known}; or give the path of a .safetensors file"
    )


def task_for(spec: EngineSpec) -> Task[Any]:
    """The pre- and postprocess that go with an engine. Raises EngineError if its card names no known task."""
    name = spec.meta.get("task")
    try:
        make = _TASKS[str(name)]
    except KeyError:
        raise EngineError(
            f"task {name!r} is unknown", where=spec.name, mend=f"known: {', '.join(_TASKS)}"
        ) from None
    return make(spec)


def _family(weights: Path) -> Family:
    mark = header(weights).get("format", "none")
    for family in FAMILIES:
        if family.format == mark:
            return family
    raise EngineError(
        f"the weights are of format {mark!r}, which no model family here reads",
        where=str(weights),
        mend=f"known: {', '.join(f.format for f in FAMILIES)}",
    )


def _default_cache() -> Path:
    from streamer.config import default_data_dir

    return default_data_dir() / "engines"
