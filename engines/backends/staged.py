"""Two engines as one, cut where the tracker's state comes in (see `streamer.ports.StagedEngine`)."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec, Tensors


class Staged:
    """`look` then `follow`. The whole's inputs are what neither stage makes, its outputs what no stage consumes."""

    def __init__(self, name: str, digest: str, look: Engine, follow: Engine) -> None:
        made = {t.name for t in look.spec.outputs}
        taken = {t.name for t in follow.spec.inputs}
        if not made & taken:
            raise EngineError(
                f"{follow.spec.name} takes nothing that {look.spec.name} makes",
                where=name,
                mend="check the card",
            )
        self._look, self._follow = look, follow
        self._kept = tuple(t.name for t in look.spec.outputs if t.name not in taken)
        self._passed = tuple(t.name for t in look.spec.outputs if t.name in taken)
        self._state = tuple(t.name for t in follow.spec.inputs if t.name not in made)
        self._spec = EngineSpec(
            name=name,
            backend=look.spec.backend,
            precision=look.spec.precision,
            device=look.spec.device,
            digest=digest,
            inputs=(*look.spec.inputs, *(t for t in follow.spec.inputs if t.name in self._state)),
            outputs=(*follow.spec.outputs, *(t for t in look.spec.outputs if t.name in self._kept)),
            max_batch_size=min(look.spec.max_batch_size, follow.spec.max_batch_size),
            meta=look.spec.meta,
        )

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def look(self) -> Engine:
        return self._look

    @property
    def follow(self) -> Engine:
        return self._follow

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Both stages on one batch."""
        missing = [t.name for t in self._spec.inputs if t.name not in inputs]
        if missing:
            raise EngineError(f"input {missing[0]} is missing", where=self._spec.name)
        looked = self._look.infer({t.name: inputs[t.name] for t in self._look.spec.inputs})
        state = {name: inputs[name] for name in self._state}
        outputs = self._follow.infer({**{name: looked[name] for name in self._passed}, **state})
        return {**outputs, **{name: looked[name] for name in self._kept}}

    def close(self) -> None:
        self._look.close()
        self._follow.close()
