"""Who may do what: tokens with a role, kept as hashes.

A token that `sightline token new` makes is 256 bits from the system's generator. Nobody can try them all, so a slow
hash (bcrypt, Argon2), which buys time against guesses at what people think up, would buy nothing here and cost tens of
milliseconds on every request. One salted SHA-256 takes a microsecond, so each request is checked anew and nothing has
to be remembered. The salt keeps equal tokens of two servers from showing as equal.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from streamer.addresses import is_loopback
from streamer.errors import ConfigError
from streamer.reach import checked_net, checked_reach
from streamer.strict import Strict

PLAIN_NAME: Final = "token"  # what the one token of `token:` is called in logs and cookies
MAX_TOKENS: Final = 256  # each wrong token is compared with all of them
_PREFIX: Final = "sl_"  # lets a scanner of repositories know what it found
_MADE: Final = re.compile(r"sl_[A-Za-z0-9_-]{43}")
_HASH: Final = re.compile(r"sha256:[0-9a-f]{32}:[0-9a-f]{64}")
_MAKE: Final = "make one with `sightline token new`"


class Role(StrEnum):
    """What a token allows: to watch and read; to change streams as well (and all the rest); to publish video only."""

    VIEW = "view"
    MANAGE = "manage"
    PUBLISH = "publish"


def new_token() -> str:
    """A token that nobody can guess: `sl_` and 256 random bits, all of it safe in a header, a form and a shell."""
    return _PREFIX + secrets.token_urlsafe(32)


def is_made(token: str) -> bool:
    """Whether it has the form of `new_token`, which nobody hits by guessing; what people think up has not."""
    return _MADE.fullmatch(token) is not None


def hash_token(token: str, salt: bytes | None = None) -> str:
    """`sha256:<salt>:<digest>`, both in hex, over 16 bytes of salt (default: new ones) and the token's UTF-8."""
    salt = secrets.token_bytes(16) if salt is None else salt
    return f"sha256:{salt.hex()}:{hashlib.sha256(salt + token.encode()).hexdigest()}"


def fits(token: str, hashed: str) -> bool:
    """Whether `hashed`, of the form that `checked_hash` asks for, is of `token`; the time it takes tells nothing."""
    salt = bytes.fromhex(hashed.split(":")[1])
    return hmac.compare_digest(hash_token(token, salt), hashed)


def checked_hash(text: str) -> str:
    """The same text; raises PydanticCustomError (what — mend) if it is no hash of a kind that is known here."""
    if _HASH.fullmatch(text):
        return text
    kind = text.partition(":")[0].partition("$")[0]
    what = "it is no hash of a token" if kind in ("", "sha256", text) else "this kind of hash is not known"
    raise PydanticCustomError("bad_hash", "{what} — {mend}", {"what": what, "mend": _MAKE})


class TokenConfig(Strict):
    """One token, as its hash: whoever reads the file cannot use it. `sightline token new` makes both."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$", description="Whose it is; shown in logs")
    ]
    role: Role
    hash: Annotated[
        str, AfterValidator(checked_hash), Field(repr=False, description="What `sightline token new` prints")
    ]


def token_for(name: str, role: Role) -> tuple[str, TokenConfig]:
    """A new token, and what a configuration keeps of it. Raises ConfigError if `name` is none."""
    token = new_token()
    try:
        return token, TokenConfig(name=name, role=role, hash=hash_token(token))
    except ValidationError:
        mend = "use up to 64 letters, digits, - _ . and @, starting with a letter or digit"
        raise ConfigError("not a name", where="--name", mend=mend) from None


Tokens = Annotated[
    tuple[TokenConfig, ...], Field(max_length=MAX_TOKENS, description="Tokens with roles, hashed")
]
StreamHosts = Annotated[
    tuple[Annotated[str, AfterValidator(checked_reach)], ...],
    Field(
        max_length=64,
        description="Guarded hosts that streams added at run time may name all the same, such as [127.0.0.1]",
    ),
]
TrustedProxies = Annotated[
    tuple[Annotated[str, AfterValidator(checked_net)], ...],
    Field(max_length=64, description="Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed"),
]


def access_mistakes(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """(path, what, mend) for what is wrong with `host`, `token` and `tokens` together.

    `data` are the fields of a configuration as they stand in its file, or checked ones as plain values.
    """
    given = data.get("tokens")
    tokens = (
        [token for token in given if isinstance(token, Mapping)] if isinstance(given, list | tuple) else []
    )
    host = data.get("host")
    if isinstance(host, str) and host and not is_loopback(host) and not data.get("token"):
        if not tokens:
            yield ("host",), *open_to_others(host)
        elif not any(token.get("role") == Role.MANAGE for token in tokens):
            what = f"{host} can be reached by others and no token may manage it"
            yield ("host",), what, "add a token with role: manage, or set token: ${SIGHTLINE_TOKEN}"
    names = {PLAIN_NAME} if data.get("token") else set()
    for i, token in enumerate(given if isinstance(given, list | tuple) else ()):
        name = token.get("name") if isinstance(token, Mapping) else None
        if isinstance(name, str):
            if name in names:
                whose = "the plain token" if name == PLAIN_NAME and i == 0 else "a token above"
                yield ("tokens", i, "name"), f"the name {name} is taken by {whose}", "give each its own name"
            names.add(name)


def open_to_others(host: str) -> tuple[str, str]:
    """(what, mend) for a server that anybody could reach."""
    what = f"{host} can be reached by others and no token is set"
    return what, "set token: ${SIGHTLINE_TOKEN}, add tokens:, or host: 127.0.0.1"
