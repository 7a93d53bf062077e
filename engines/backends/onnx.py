"""ONNX Runtime on the CPU, in float32: the backend for machines that OpenVINO does not serve."""

from __future__ import annotations

import platform
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from engines.backends.registry import Artefact, Say, quiet
from engines.backends.tensors import checked
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors

_OPTIMISED = "optimised.onnx"


def precisions() -> tuple[str, ...]:
    return ("f32",)


def device() -> str:
    return platform.processor() or platform.machine()


def ready() -> None:
    """Any machine will do."""


def prepare(artefact: Artefact, say: Say = quiet) -> None:
    """Optimise the graph once and leave it in the folder, so that `load` need not."""
    options = _options(artefact)
    options.optimized_model_filepath = str(artefact.folder / _OPTIMISED)
    ort.InferenceSession(str(artefact.graph), options, providers=["CPUExecutionProvider"])


def load(artefact: Artefact) -> OnnxEngine:
    """Open the optimised graph. Raises EngineError if it is missing or cannot be read."""
    path = artefact.folder / _OPTIMISED
    options = _options(artefact)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # `prepare` did that
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no nearer class
        raise EngineError(
            f"the compiled engine cannot be opened: {str(error).splitlines()[0]}",
            where=str(path),
            mend="delete its folder; it is built again at the next start",
        ) from None
    return OnnxEngine(artefact.spec, session)


def _options(artefact: Artefact) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = max(1, artefact.lanes.threads // artefact.lanes.streams)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings about the optimised file being tied to this CPU
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoders need the cores too
    return options


class OnnxEngine:
    """One session. ONNX Runtime's `run` is safe from several threads and lets go of the interpreter's lock."""

    def __init__(self, spec: EngineSpec, session: ort.InferenceSession) -> None:
        self._spec = spec
        self._session: ort.InferenceSession | None = session
        self._outputs = [t.name for t in spec.outputs]

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; the returned arrays are the caller's."""
        _, arrays = checked(self._spec, inputs)
        session = self._session
        if session is None:
            raise EngineError("the engine is closed", where=self._spec.name)
        try:
            return dict(zip(self._outputs, session.run(self._outputs, arrays), strict=True))
        except Exception as error:  # see `load`
            raise EngineError(
                f"inference failed: {str(error).splitlines()[0]}", where=self._spec.name
            ) from None

    def close(self) -> None:
        """Let go of the session; safe to call more than once."""
        self._session = None
