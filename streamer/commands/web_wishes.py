"""What the supervisor tells the web process beside its command line."""

from __future__ import annotations

import orjson
from pydantic import SecretStr

from streamer.access import TokenConfig
from streamer.config import Config
from streamer.evidence import EvidenceConfig
from streamer.network import WebRtcConfig
from streamer.strict import Strict

WEB_WISHES = "SIGHTLINE_WEB"


class WebWishes(Strict):
    """What the web process is told beside its command line: it holds secrets, so it comes through the environment."""

    tokens: tuple[TokenConfig, ...] = ()
    webrtc: WebRtcConfig = WebRtcConfig()
    max_viewers: int = 64
    evidence: EvidenceConfig = EvidenceConfig()


def web_wishes(config: Config) -> str:
    """The part of the configuration that the web process needs, secrets in plain, as JSON for its environment."""
    wishes = WebWishes(
        tokens=config.tokens,
        webrtc=config.webrtc,
        max_viewers=config.max_viewers,
        evidence=config.evidence,
    )
    return orjson.dumps(wishes.model_dump(mode="python"), default=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(type(value).__name__)
