"""Who is it? A Bearer token, or the cookie that signing in gave for one.

A cookie is `name:role:until:id:signature`. Its key is made of a secret of this server, of the token's hash and of its
role: so a token that is removed, renewed or given another role ends its cookies at once, whoever reads the hashes in
the configuration cannot sign one, and a stolen cookie is nothing to guess a token by. Any web process that is told the
same secret accepts it. Signing out is remembered by the process that heard it, until the cookie would have ended.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from streamer.access import PLAIN_NAME, Role, TokenConfig, fits, hash_token, is_made

COOKIE = "sightline_session"
SESSION_S = 7 * 24 * 3600
MAX_ENDED = 10_000  # signed-out cookies that are remembered; the oldest are forgotten first
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asks: the token's name and role. `guessable`: a token that people think up, so tries are to be counted."""

    name: str
    role: Role
    guessable: bool = False


EVERYBODY = Grant("", Role.MANAGE)  # where no token is set, whoever reaches the loopback address


@dataclass(frozen=True, slots=True)
class _Known:
    grant: Grant
    hashed: str
    key: bytes


class Keyring:
    """The tokens of one server. `token` is the plain one, which may manage; `secret` signs cookies (None: new)."""

    def __init__(
        self, token: str | None, tokens: Sequence[TokenConfig] = (), *, secret: str | None = None
    ) -> None:
        seed = (secret or secrets.token_hex(32)).encode()
        known = [(Grant(each.name, each.role), each.hash) for each in tokens]
        if token:
            # without a salt of its own each time, so that every process makes the same key of it
            salt = hashlib.sha256(seed).digest()[:16]
            plain = Grant(PLAIN_NAME, Role.MANAGE, guessable=not is_made(token))
            known.insert(0, (plain, hash_token(token, salt)))
        self._known = tuple(
            _Known(grant, hashed, _mac(seed, f"{grant.name}:{grant.role}:{hashed}").digest())
            for grant, hashed in known
        )
        self._ended: OrderedDict[str, int] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether a token is needed at all."""
        return bool(self._known)

    def by_token(self, given: str) -> Grant | None:
        """Whose token this is. Every hash is compared, so the time tells nothing of which came close."""
        found: Grant | None = None
        for known in self._known:
            if fits(given, known.hashed) and found is None:
                found = known.grant
        return found

    def cookie_for(self, grant: Grant, now_s: int) -> str:
        """A cookie's value that `by_cookie` knows until `SESSION_S` from now."""
        known = next(each for each in self._known if each.grant == grant)
        body = f"{grant.name}:{grant.role}:{now_s + SESSION_S}:{secrets.token_hex(8)}"
        return f"{body}:{_mac(known.key, body).hexdigest()}"

    def by_cookie(self, value: str, now_s: int) -> Grant | None:
        """Whose cookie this is, if it is one of ours, not over and not signed out."""
        body, _, signature = value.rpartition(":")
        parts = body.split(":")
        if len(value) > _LONGEST or not value.isascii() or len(parts) != 4:
            return None
        name, role, until, _id = parts
        for known in self._known:
            if (known.grant.name, known.grant.role) == (name, role):
                mine = hmac.compare_digest(signature, _mac(known.key, body).hexdigest())
                # what is signed is ours, so `until` is a number
                return known.grant if mine and int(until) > now_s and signature not in self._ended else None
        return None

    def end(self, value: str, now_s: int) -> None:
        """Sign this cookie out; anything that is no good cookie is let be."""
        if self.by_cookie(value, now_s) is None:
            return
        body, _, signature = value.rpartition(":")
        self._ended[signature] = int(body.split(":")[2])
        for gone in [each for each, until_s in self._ended.items() if until_s <= now_s]:
            del self._ended[gone]
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)


def cookie_value(header: str) -> str | None:
    """Our cookie in a Cookie header, if it is there."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def _mac(key: bytes, text: str) -> hmac.HMAC:
    return hmac.new(key, text.encode(), "sha256")
