"""What the supervisor tells the web process beside its command line."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import orjson
from pydantic import SecretStr

from streamer.access import TokenConfig
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.evidence import EvidenceConfig
from streamer.network import WebRtcConfig
from streamer.strict import Strict

WEB_WISHES = "SIGHTLINE_WEB"


class WebWishes(Strict):
    """What the web process is told beside its command line: it holds secrets, so it comes through the environment."""

    tokens: tuple[TokenConfig, ...] = ()
    webrtc: WebRtcConfig = WebRtcConfig()
    max_viewers: int = 64
    max_viewers_per_stream: int | None = None
    secret: SecretStr | None = None  # signs cookies
    stream_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    evidence: EvidenceConfig = EvidenceConfig()


def web_wishes(config: Config) -> str:
    """The part of the configuration that the web process needs, secrets in plain, as JSON for its environment."""
    needs_secret = config.token is not None or bool(config.tokens)
    wishes = WebWishes(
        tokens=config.tokens,
        webrtc=config.webrtc,
        max_viewers=config.max_viewers,
        max_viewers_per_stream=config.max_viewers_per_stream,
        secret=SecretStr(cookie_secret(config.data_dir)) if needs_secret else None,
        stream_hosts=config.stream_hosts,
        trusted_proxies=config.trusted_proxies,
        evidence=config.evidence,
    )
    return orjson.dumps(wishes.model_dump(mode="python"), default=_plain).decode()


def cookie_secret(data_dir: Path) -> str:
    """The secret in `data_dir` with which cookies are signed (64 hex digits), made at the first call.

    It outlasts restarts, so that nobody has to sign in again, and only this user can read it. Raises ConfigError.
    """
    path = data_dir / "cookie.key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            pass
        kept = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        mend = "give a data_dir that can be written, or delete the file"
        raise ConfigError(f"cannot be kept: {reason.lower()}", where=str(path), mend=mend) from None
    if len(kept) < 32:  # half written, or somebody's own: cookies could be forged
        raise ConfigError("it is too short to sign with", where=str(path), mend="delete it")
    return kept


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(type(value).__name__)
