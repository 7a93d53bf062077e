"""Engines before the first frame: compiled or found in the cache, so that the worker opens them at once.

`precision: auto` means the quickest one that answers as its reference does: where bf16 is refused by the parity gate,
f32 is used, that is said, and the refusal is remembered beside the engines, so that the next start is quick as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.commands.heads import refuse_unknown
from streamer.config import Config
from streamer.errors import ParityError

if TYPE_CHECKING:
    from engines.build import Recipe

Say = Callable[[str], None]
EXACT = "f32"


def prepare_engines(config: Config, say: Say) -> str:
    """Have ready what the streams need, exactly as the worker will ask for it; the precision for the worker.

    Raises EngineError or ParityError, one line.
    """
    streams = [stream for stream in config.streams if not stream.paused]
    for stream in streams:
        refuse_unknown(stream)
    wanted = {(stream.model, stream.heads) for stream in streams}
    models = sorted(wanted, key=lambda one: (one[0], one[1] or ()))
    try:
        for model, heads in models:
            say(f"engine {model}")
            _prepare(_recipe(model, heads, config, config.precision), config.engine_cache, say)
    except ParityError as refusal:
        if config.precision != "auto" or _recipe(*models[0], config, "auto").precision == EXACT:
            raise
        say(f"{refusal.what}: {EXACT} is used instead, which is slower")
        for model, heads in models:
            _prepare(_recipe(model, heads, config, EXACT), config.engine_cache, say)
        return EXACT
    return config.precision


def _recipe(model: str, heads: Sequence[str] | None, config: Config, precision: str) -> Recipe:
    from engines.zoo import recipe_for
    from streamer.commands.worker import shares

    here = shares(config.lanes, config.threads)
    return recipe_for(
        model,
        backend=config.backend,
        precision=precision,
        max_batch_size=config.max_batch_size,
        threads=here.threads,
        streams=here.streams,
        heads=heads,
    )


def _prepare(recipe: Recipe, cache_dir: Path, say: Say) -> None:
    from engines.build import ensure_built

    refused = cache_dir / f".{recipe.digest()[:16]}.{_gate(recipe.family.gate)}.refused"
    if refused.exists():
        raise ParityError(refused.read_text("utf-8"), where=f"{recipe.name} on {recipe.backend}")
    try:
        ensure_built(recipe, cache_dir, say)
    except ParityError as refusal:
        refused.write_text(refusal.what, "utf-8")
        raise


def _gate(module: str) -> str:
    """Names the gate as it is now: what another one refused is looked at again."""
    spec = find_spec(module)
    source = Path(spec.origin).read_bytes() if spec is not None and spec.origin is not None else b""
    return sha256(source).hexdigest()[:8]
