"""Every error a user can meet, as one tree.

SightlineError
├── ConfigError            the YAML, a flag or an environment variable is wrong
├── SourceError            a stream cannot be opened or read (carries a machine-readable `code`)
├── EngineError            a model cannot be loaded, built or run
│   └── ParityError        a compiled engine does not answer as its reference does
├── StoreError             Redis cannot be started or reached
├── WireError              bytes that are no event or result of ours
└── Closed                 a channel was closed (control flow, never shown to a user)

The message is one line: what is wrong, where, and the mend.
"""

from __future__ import annotations

from enum import StrEnum


class SightlineError(Exception):
    """What is wrong (`what`), where (`where`: file, line, field, stream …) and how to mend it (`mend`)."""

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        line = f"{line} — {self.mend}" if self.mend else line
        return " ".join(line.split())


class ConfigError(SightlineError):
    """The YAML, a flag or an environment variable is wrong."""


class SourceCode(StrEnum):
    """Why a stream is not running; part of the state that users and programs see."""

    AUTH_FAILED = "STREAM_AUTH_FAILED"
    TIMEOUT = "STREAM_TIMEOUT"
    NOT_FOUND = "STREAM_NOT_FOUND"
    REFUSED = "STREAM_REFUSED"
    CODEC_UNSUPPORTED = "STREAM_CODEC_UNSUPPORTED"
    INVALID = "STREAM_INVALID"
    LOST = "STREAM_LOST"
    WAITING = "STREAM_WAITING"  # nobody publishes to it yet; nothing is wrong


class SourceError(SightlineError):
    """A stream cannot be opened or read; `retryable` says whether trying again may help."""

    def __init__(
        self, what: str, *, code: SourceCode, retryable: bool = True, where: str = "", mend: str = ""
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.code = code
        self.retryable = retryable


class EngineError(SightlineError):
    """A model cannot be loaded, built or run."""


class ParityError(EngineError):
    """A compiled engine does not answer as its reference does; it is never used."""


class StoreError(SightlineError):
    """Redis cannot be started or reached."""


class WireError(SightlineError):
    """Bytes that are no event or result of ours."""


class Closed(Exception):
    """The channel was closed: nothing more can be put in, or nothing more will come out."""
