"""What is to be built, and the digest that names it: everything that decides what the engine answers, without torch.

The digest covers the weights, the sources of the model's family and of the build itself, precision, batch sizes,
threads, the versions of the exporter and the backend, and the processor. So a second start finds the first one's
work, and any change that could matter builds anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import struct
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from engines.backends import registry
from engines.backends.registry import Lanes
from engines.build.contents import digest, sha256
from streamer.errors import EngineError

NOISE = "noise"  # names a batch of random pixels: its rows score alike, and none of them is an object
LAYOUT = 2  # of a built folder; a change makes every older folder invisible
_BUILD_SOURCES = (
    "engines.backends.casting",
    "engines.build.contents",
    "engines.build.export",
    "engines.build.graphs",
    "engines.build.inputs",
    "engines.build.judging",
    "engines.build.precision",
    "engines.build.strong_types",
    "engines.build.worker",
)
_EXPORTERS = ("torch", "onnx")
# CPython 3.11 counts how deep it is in a tree for all threads together, and may refuse one parsed beside another.
_PARSING = threading.Lock()


class Head(NamedTuple):
    """Something that a model of a family may say: `field` of its config is empty in weights that have not got it.

    `always`: weights whose config does not know the field have it all the same.
    """

    name: str
    field: str
    always: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of model: one module under engines/models with INPUT_NAMES, OUTPUT_NAMES, `example_inputs` and a loader.

    `format` is the mark in its weight files; `loader` is `module:function`, path to torch module with a `config`;
    `task` names the pre- and postprocess that serve it. `stages` is a module that cuts it where the state comes in
    (LOOK_INPUTS, LOOK_OUTPUTS, FOLLOW_INPUTS, FOLLOW_OUTPUTS, `cut`), empty for a model without one. `gate` is the
    module that compares an engine with its reference (`compare`, `gate`, `LIMITS`). The family's module may have
    `natural_inputs(blank, pictures, reference)` for inputs that pictures alone do not make, such as tracks; a torch
    module may have `input_names` and `output_names` that differ from its family's, as where heads are optional, and
    `max_batch_size` and `notes` (lines for the user) where its graph cannot hold every batch. `distributions` are the
    installed packages, beyond the exporter's, whose versions decide what the graph is. A loader may end in a query,
    `module:function?height=480`: its fields are given to the function as text.
    `low_precision_parts` are attributes of the torch module (dotted for deeper ones) that may run in 16 bits where the
    graph's types decide; those that a model has not are passed over. Boxes and logits are best left out.
    `heads` may be left out of an engine (see engines/build/heads.py).
    """

    name: str
    format: str
    loader: str
    task: str
    stages: str = ""
    gate: str = "engines.build.closeness"
    low_precision_parts: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def module(self) -> str:
        return self.loader.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One engine to be had: these weights, of this family, on this backend, in this precision, for these lanes."""

    name: str
    weights: Path
    family: Family
    backend: str
    precision: str  # resolved: never "auto"
    max_batch_size: int
    lanes: Lanes

    @property
    def card(self) -> Path:
        """The JSON file beside the weights (or in their folder) that says what they are; may be absent."""
        if self.weights.is_dir():
            return self.weights / "sightline.json"
        return self.weights.with_suffix(
            ".json" if self.weights.suffix == ".safetensors" else ".sightline.json"
        )

    @property
    def stages(self) -> str:
        """The module that cuts the model in two; PyTorch, the reference, runs it whole."""
        return "" if self.backend == "torch" else self.family.stages

    def key(self) -> dict[str, Any]:
        """Everything the digest covers, readable."""
        stages = sources_of(self.stages) if self.stages else ()
        gate = sources_of(self.family.gate)
        sources = (*sources_of(self.family.module), *stages, *gate, *_build_sources(self.backend))
        return {
            "layout": LAYOUT,
            "name": self.name,
            "weights": digest(self.weights),
            "card": sha256(self.card) if self.card.exists() else None,
            "sources": {name: sha256(path)[:16] for name, path in sources},
            "family": asdict(self.family),
            "backend": self.backend,
            "precision": self.precision,
            "max_batch_size": self.max_batch_size,
            "lanes": asdict(self.lanes),
            "versions": {
                d: version(d)
                for d in (*_EXPORTERS, *self.family.distributions, *registry.distributions(self.backend))
            },
            "cpu": cpu(),
            "device": registry.backend(self.backend).device(),
            "settings": registry.settings(self.backend),
        }

    def digest(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(json.dumps(self.key(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "weights": str(self.weights)})

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        fields = json.loads(text)
        fields["weights"] = Path(fields["weights"])
        family: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields["family"].items()
        }
        family["heads"] = tuple(Head(*head) for head in family["heads"])
        fields["family"] = Family(**family)
        fields["lanes"] = Lanes(**fields["lanes"])
        return cls(**fields)


def header(weights: Path) -> Mapping[str, str]:
    """The metadata of a safetensors file, read without its tensors.

    Raises EngineError, one line, if the file is missing or is no safetensors file. Source: the format's description,
    https://huggingface.co/docs/safetensors: u64 little-endian length, then that much JSON.
    """
    mend = "give a .safetensors file made by `sightline train`"
    try:
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                raise ValueError("header too long")
            found = json.loads(file.read(length)).get("__metadata__", {})
    except FileNotFoundError:
        raise EngineError("the weights file does not exist", where=str(weights), mend=mend) from None
    except OSError as error:
        raise EngineError(
            f"the weights file cannot be read: {error.strerror}", where=str(weights), mend=mend
        ) from None
    except (struct.error, ValueError, AttributeError):
        raise EngineError("this is no safetensors file", where=str(weights), mend=mend) from None
    return {str(k): str(v) for k, v in found.items()}


def sources_of(module: str) -> tuple[tuple[str, Path], ...]:
    """A module's file and those of all modules of its package that it imports, by name; nothing is executed."""
    package = module.rpartition(".")[0]
    seen: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or (path := _source(name)) is None:
            continue
        seen[name] = path
        with _PARSING:
            tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            else:
                continue
            waiting += [n for n in names if package and n.startswith(package + ".")]
    return tuple(sorted(seen.items()))


def _source(module: str) -> Path | None:
    """The file of a module, None for a name that is no module. Found on disk: a `find_spec` would import parents."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, *rest)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _build_sources(backend: str) -> list[tuple[str, Path]]:
    names = (*_BUILD_SOURCES, *registry.modules(backend))
    return [(name, path) for name in names if (path := _source(name))]


@cache
def version(distribution: str) -> str:
    """The installed version, `absent` where there is none; the package is not imported."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


@cache
def cpu() -> str:
    """The processor's model and a digest of its instruction sets."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    flags = fields.get("flags") or fields.get("Features", "")
    model = fields.get("model name", platform.machine())
    return f"{model} {hashlib.sha256(flags.encode()).hexdigest()[:16]}"
