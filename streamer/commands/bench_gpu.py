"""Every model family on this machine's GPU: parity with torch in float32, throughput and latency, in one JSON file.

Each engine is built as for serving, so the gate has compared it with torch in float32 on the CPU before anything is
timed; one that is refused is reported with its numbers and not timed. The time is shared out: a family gets an equal
part of what is left, a build that would go beyond it is ended, and what was left out is in the file as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from streamer.errors import EngineError, SightlineError
from streamer.ports import Engine, Tensors

BATCHES = (1, 4, 8, 16)
LANES = 2  # while one batch computes, the next one's pictures are copied
TIMED_S = 1.5  # of one caller and then of LANES callers, at each batch
LEAST_S = 10.0  # no build is begun with less left
DISTRIBUTIONS = ("sightline", "torch", "onnx", "tensorrt", "tensorrt-rtx-cu13", "cuda-bindings")
Clock = Callable[[], float]
Show = Callable[[float, float, str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the file: a model on a backend."""

    family: str
    model: str
    backend: str
    precision: str


@dataclass(frozen=True, slots=True)
class Timing:
    """One batch size: pictures a second with LANES callers, and what one caller alone waits, in ms."""

    batch: int
    images_per_s: float
    p50_ms: float
    p95_ms: float


class Allowance:
    """Seconds shared out over families: each may use an equal part of what is left when its turn comes."""

    def __init__(self, seconds: float, families: int, clock: Clock) -> None:
        self._clock, self._end, self._left = clock, clock() + seconds, families
        self._family_end = self._end

    def next_family(self) -> None:
        now = self._clock()
        self._family_end = now + max(self._end - now, 0.0) / max(self._left, 1)
        self._left -= 1

    @property
    def seconds(self) -> float:
        """What the family has left."""
        return max(self._family_end - self._clock(), 0.0)


def variants(tensorrt: str | None) -> tuple[tuple[str, str], ...]:
    """(backend, precision) pairs, what serving would choose first; `tensorrt` is the flavour at hand, None for none."""
    compiled = ((tensorrt, "f16"), (tensorrt, "bf16")) if tensorrt else ()
    return (*compiled[:1], ("torch", "bf16"), *compiled[1:], ("torch", "f32"))


def bench_gpu(budget_s: float, data_dir: Path, show: Show, clock: Clock = time.monotonic) -> dict[str, Any]:
    """All of it. Raises EngineError, one line, on a machine without an NVIDIA GPU."""
    gpu = find_gpu()
    with tempfile.TemporaryDirectory() as folder:
        models = list(wanted(Path(folder)))
        choices = variants(flavour())
        allowance = Allowance(budget_s, len(models), clock)
        rows: list[dict[str, Any]] = []
        for i, (family, model) in enumerate(models):
            allowance.next_family()
            for j, (backend, precision) in enumerate(choices):
                case = Case(family, Path(model).stem, backend, precision)
                show(i + j / len(choices), len(models), f"{case.model} {backend} {precision}")
                rows.append(asdict(case) | run_case(model, case, data_dir, allowance, clock))
        show(len(models), len(models), "done")
    return {"bench": "gpu", "date": datetime.now(UTC).isoformat(timespec="seconds"), **gpu, "rows": rows}


def run_case(model: str, case: Case, data_dir: Path, allowance: Allowance, clock: Clock) -> dict[str, Any]:
    """Build, gate and time one engine; what stood in the way is a field of the row, never an exception."""
    from engines.build import ensure_built, load
    from engines.build.cache import PARITY_FILE
    from engines.zoo import recipe_for

    if allowance.seconds < LEAST_S:
        return {"left_out": "no time left for this family"}
    started = clock()
    try:
        recipe = recipe_for(
            model,
            backend=case.backend,
            precision=case.precision,
            max_batch_size=BATCHES[-1],
            streams=LANES,
        )
        artefact = ensure_built(recipe, data_dir / "engines", deadline_s=allowance.seconds)
        parity = json.loads((artefact.folder / PARITY_FILE).read_text())
        engine = load(artefact)
    except (SightlineError, OSError, ValueError) as error:
        return {"refused": str(error)}
    ready_s = round(clock() - started, 1)
    timings: list[dict[str, Any]] = []
    try:
        for batch in BATCHES:
            if allowance.seconds <= 0 and timings:
                break
            timings.append(asdict(timed(engine, batch, TIMED_S, clock)))
    except SightlineError as error:
        return {"refused": str(error)}
    finally:
        engine.close()
    return {"device": engine.spec.device, "ready_s": ready_s, "parity": parity, "timings": timings}


def timed(engine: Engine, batch: int, seconds: float, clock: Clock) -> Timing:
    """Batches of one size, for `seconds` by one caller and then by LANES callers."""
    inputs = random_inputs(engine, batch)
    for _ in range(3):
        engine.infer(inputs)
    waits = _waits(engine, inputs, seconds, clock)
    began = clock()
    with ThreadPoolExecutor(LANES) as pool:
        runs = list(pool.map(lambda _: _waits(engine, inputs, seconds, clock), range(LANES)))
    pictures = batch * sum(map(len, runs))
    p50, p95 = np.percentile(waits, (50, 95)) * 1e3
    return Timing(
        batch,
        images_per_s=round(pictures / max(clock() - began, 1e-9), 1),
        p50_ms=round(float(p50), 3),
        p95_ms=round(float(p95), 3),
    )


def _waits(engine: Engine, inputs: Tensors, seconds: float, clock: Clock) -> list[float]:
    waits, end = list[float](), clock() + seconds
    while not waits or clock() < end:
        began = clock()
        engine.infer(inputs)
        waits.append(clock() - began)
    return waits


def random_inputs(engine: Engine, batch: int) -> Tensors:
    """Bytes anywhere for pictures; elsewhere numbers in 0..1, ones for integers and flags, whole heights for sizes."""
    rng = np.random.default_rng(0)
    found = {}
    for tensor in engine.spec.inputs:
        shape = (batch, *tensor.shape[1:])
        if tensor.dtype == np.uint8:
            found[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif tensor.name == "content_hw":
            found[tensor.name] = np.tile(np.array(engine.spec.input_hw, tensor.dtype), (batch, 1))
        elif tensor.dtype.kind == "f":
            found[tensor.name] = rng.random(shape, dtype=np.float32).astype(tensor.dtype)
        else:
            found[tensor.name] = np.ones(shape, tensor.dtype)
    return found


def wanted(folder: Path) -> Iterator[tuple[str, str]]:
    """(family, name or weights file): the shipped weights of a family, else random ones at full size."""
    from engines.build.samples import SAMPLES, sample
    from engines.zoo import list_models

    shipped = {card.family: card.name for card in list_models()}
    for family in SAMPLES:
        yield family, shipped.get(family) or str(sample(family, folder, full=True))


def flavour() -> str | None:
    """The TensorRT that is installed; TensorRT proper before the RTX variant, which knows fewer cards."""
    there = {name for name in ("tensorrt", "tensorrt-rtx-cu13") if _version(name)}
    return "tensorrt" if "tensorrt" in there else "tensorrt-rtx" if there else None


def find_gpu() -> dict[str, Any]:
    """Device, driver and versions. Raises EngineError, one line, where there is no NVIDIA GPU."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,compute_cap,memory.total",
        "--format=csv,noheader",
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        name, driver, capability, memory = (part.strip() for part in told.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        raise EngineError(
            "no NVIDIA GPU on this machine: nvidia-smi finds none",
            mend="run it where there is one; `sightline bench pipeline` measures the CPU",
        ) from None
    return {
        "device": name,
        "driver": driver,
        "compute_capability": capability,
        "memory": memory,
        "versions": {name: found for name in DISTRIBUTIONS if (found := _version(name))},
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def write_results(found: dict[str, Any], folder: Path) -> Path:
    """The file `gpu-DEVICE-DATE.json`. Raises EngineError if it cannot be written."""
    device = re.sub(r"[^a-z0-9]+", "-", str(found["device"]).lower()).strip("-")
    path = folder / f"gpu-{device}-{found['date'][:10]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise EngineError(f"the results cannot be written: {error.strerror}", where=str(path)) from None
    return path


def lines(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The table: model, backend, precision, batch, pictures a second, p50 and p95 in ms, or why not."""
    for row in rows:
        head = (row["model"], row["backend"], row["precision"])
        if why := row.get("refused") or row.get("left_out"):
            yield (*head, "", "", "", why)
        for t in row.get("timings", ()):
            numbers = (f"{t['images_per_s']:.0f}", f"{t['p50_ms']:.2f}", f"{t['p95_ms']:.2f}")
            yield (*head, str(t["batch"]), *numbers)
