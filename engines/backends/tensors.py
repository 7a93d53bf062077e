"""What every backend checks and prepares the same way: names, dtypes, shapes, and fresh arrays for the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors


def checked(spec: EngineSpec, inputs: Tensors) -> tuple[int, dict[str, NDArray[Any]]]:
    """The batch size B and the inputs as C-contiguous arrays (copied only where they are not).

    Raises EngineError, one line, for a missing tensor, a wrong dtype or shape, or a batch out of 1..max_batch_size.
    """
    arrays: dict[str, NDArray[Any]] = {}
    batch = 0
    for want in spec.inputs:
        array = inputs.get(want.name)
        if array is None:
            raise EngineError(f"input {want.name!r} is missing", where=spec.name)
        batch = batch or len(array)
        if array.dtype != want.dtype or array.shape != (batch, *want.shape[1:]):
            raise EngineError(
                f"input {want.name!r} is {array.dtype}{list(array.shape)}, "
                f"not {want.dtype}{[batch, *want.shape[1:]]}",
                where=spec.name,
            )
        arrays[want.name] = np.ascontiguousarray(array)
    if not 1 <= batch <= spec.max_batch_size:
        raise EngineError(
            f"a batch of {batch} is not in 1..{spec.max_batch_size}",
            where=spec.name,
            mend="open the engine with a larger max_batch_size",
        )
    return batch, arrays


def empty_outputs(spec: EngineSpec, batch: int) -> dict[str, NDArray[Any]]:
    """Fresh arrays for one batch's answers, which the caller then owns."""
    return {t.name: np.empty((batch, *t.shape[1:]), t.dtype) for t in spec.outputs}
