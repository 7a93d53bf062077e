"""`sightline models build --ahead`: does TensorRT compile this model for GPUs that are not here?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer


def build_for(
    model: str,
    backend: str,
    precision: str,
    max_batch_size: int,
    heads: Sequence[str] | None,
    data_dir: Path | None,
    ahead: str,
) -> None:
    """Compile `model` (a name, a weights file, or an .onnx file) for the architectures named in `ahead`.

    Raises EngineError, one line, if a graph is refused.
    """
    from engines.build.ahead import build_ahead
    from engines.zoo import recipe_for
    from streamer.config import default_data_dir
    from streamer.errors import EngineError

    what = (
        Path(model)
        if model.endswith(".onnx")
        else recipe_for(
            model, backend=backend, precision=precision, max_batch_size=max_batch_size, heads=heads
        )
    )
    if isinstance(what, Path) and backend != "tensorrt-rtx":
        raise EngineError(
            f"backend {backend} does not build ahead of time", mend="use --backend tensorrt-rtx"
        )
    report = build_ahead(
        what,
        architectures(ahead),
        (data_dir or default_data_dir()) / "engines",
        max_batch_size=max_batch_size,
        on_progress=lambda line: typer.echo(line, err=True),
    )
    targets = ", ".join(map(str, report.sms))
    for graph in report.graphs:
        typer.echo(
            f"{graph.name}: {graph.nodes} nodes, {graph.graph_bytes / 1e6:.1f} MB to a plan of "
            f"{graph.plan_bytes / 1e6:.1f} MB in {graph.seconds:.1f} s"
        )
    typer.echo(
        f"{report.name}: {report.version} {report.precision} for SM {targets}, {report.state}; {report.folder}"
    )


def architectures(text: str) -> tuple[int, ...]:
    """`80,86` to (80, 86); raises EngineError for what is no number."""
    from streamer.errors import EngineError

    try:
        return tuple(dict.fromkeys(int(part) for part in text.replace(" ", "").split(",") if part))
    except ValueError:
        raise EngineError(
            f"{text!r} names no architectures", where="--ahead", mend="give numbers, such as 80,86,89,120"
        ) from None
