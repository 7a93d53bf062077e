"""Can the models say what the streams wish for? Asked before anything is built, of the weights' own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config import StreamConfig


def refuse_unknown(stream: StreamConfig) -> None:
    """Raises EngineError or ConfigError, one line, for a head or an action that the stream's model does not know."""
    if stream.heads is None and not stream.events.actions:
        return
    from engines.zoo import describe, recipe_for

    where = f"streams.{stream.name}"
    recipe_for(stream.model, backend="onnx", precision="f32", heads=stream.heads)
    if not stream.events.actions:
        return
    if stream.heads is not None and "actions" not in stream.heads:
        raise ConfigError(
            "events of actions need the head actions", where=f"{where}.heads", mend="add actions to heads"
        )
    known = describe(stream.model)["config"].get("action_labels", ())
    for name in stream.events.actions:
        if name not in known:
            mend = (
                f"it knows {', '.join(known)}"
                if known
                else "leave events.actions out, or choose another model"
            )
            raise ConfigError(
                f"{stream.model} does not know the action {name!r}",
                where=f"{where}.events.actions",
                mend=mend,
            )


def heads_of_text(text: str | None) -> tuple[str, ...] | None:
    """`masks,keypoints` to names; None stays None, for all that the weights have."""
    if text is None:
        return None
    return tuple(dict.fromkeys(part for part in text.replace(" ", "").split(",") if part))
