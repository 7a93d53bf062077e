"""Cookies and brakes: what a session's signature holds together, and how long a guesser waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.access import Role, TokenConfig, hash_token, is_made, new_token
from web.sessions import COOKIE, SESSION_S, Grant, Keyring, cookie_value
from web.throttle import FREE_TRIES, IN_ALL, LONGEST_WAIT_S, MAX_CLIENTS, Throttle

SECRET = "0123456789abcdef" * 4
MADE = new_token()
HASH = hash_token(MADE)
NOW_S = 1_000_000


def config(name: str = "gate", role: Role = Role.VIEW, hashed: str = HASH) -> TokenConfig:
    return TokenConfig(name=name, role=role, hash=hashed)


def cookie(ring: Keyring, token: str = MADE) -> str:
    grant = ring.by_token(token)
    assert grant is not None
    return ring.cookie_for(grant, NOW_S)


def test_a_cookie_is_known_to_every_process_with_the_same_secret_until_its_end() -> None:
    value = cookie(Keyring(None, [config()], secret=SECRET))
    again = Keyring("plain", [config("other", hashed=hash_token(new_token())), config()], secret=SECRET)
    assert again.by_cookie(value, NOW_S + SESSION_S - 1) == Grant("gate", Role.VIEW)
    assert again.by_cookie(value, NOW_S + SESSION_S) is None


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [config(hashed=hash_token(MADE))],  # the same token with a new salt is a new entry
        [config(role=Role.MANAGE)],
        [config(name="yard")],
    ],
    ids=["removed", "renewed", "other role", "other name"],
)
def test_a_cookie_ends_with_the_token_that_it_was_given_for(tokens: list[TokenConfig]) -> None:
    value = cookie(Keyring(None, [config()], secret=SECRET))
    assert Keyring(None, tokens, secret=SECRET).by_cookie(value, NOW_S) is None


def test_whoever_reads_the_hashes_cannot_sign_a_cookie() -> None:
    value = cookie(Keyring(None, [config()], secret="another server" * 4))
    assert Keyring(None, [config()], secret=SECRET).by_cookie(value, NOW_S) is None
    assert Keyring(None, [config()]).by_cookie(cookie(Keyring(None, [config()])), NOW_S) is None


def test_the_plain_token_has_the_same_cookies_in_every_process() -> None:
    value = cookie(Keyring("plain", secret=SECRET), "plain")
    assert Keyring("plain", secret=SECRET).by_cookie(value, NOW_S) is not None
    assert Keyring("other", secret=SECRET).by_cookie(value, NOW_S) is None
    assert "plain" not in value


@given(st.integers(0, 200), st.text(min_size=1, max_size=3))
def test_no_changed_cookie_is_known(at: int, put: str) -> None:
    ring = Keyring(None, [config(), config("yard", Role.MANAGE, hash_token("x"))], secret=SECRET)
    value = cookie(ring)
    changed = value[:at] + put + value[at + len(put) :]
    assert (ring.by_cookie(changed, NOW_S) is not None) == (changed == value)


@given(st.text(max_size=600))
def test_no_made_up_cookie_is_known(value: str) -> None:
    assert Keyring("plain", [config()], secret=SECRET).by_cookie(value, NOW_S) is None
    cookie_value(f"{COOKIE}={value}")  # whatever stands there, it raises nothing


def test_signing_out_is_remembered_and_forgets_what_is_over() -> None:
    ring = Keyring(None, [config()], secret=SECRET)
    first, second = cookie(ring), cookie(ring)
    assert first != second
    ring.end(first, NOW_S)
    ring.end("nonsense", NOW_S)
    assert ring.by_cookie(first, NOW_S) is None
    assert ring.by_cookie(second, NOW_S) is not None


@given(st.text())
def test_no_token_but_its_own_fits(text: str) -> None:
    ring = Keyring("plain", [config()], secret=SECRET)
    assert ring.by_token(text) is None or text in ("plain", MADE)


def test_a_token_of_ours_cannot_be_guessed_and_a_thought_up_one_can() -> None:
    assert is_made(MADE) and len({new_token() for _ in range(50)}) == 50
    grants = [Keyring(token, secret=SECRET).by_token(token) for token in (MADE, "letmein")]
    assert [grant.guessable for grant in grants if grant] == [False, True]


# ------------------------------------------------------------------------------------------------------ brakes


def test_a_guesser_waits_and_starts_anew_after_a_quarter_of_an_hour() -> None:
    brake = Throttle()
    now_s = 0.0
    for i in range(40):
        brake.failed("10.0.0.1", f"guess {i}", now_s)
        wait_s = brake.wait_s("10.0.0.1", now_s)
        assert (wait_s > 0) == (i + 1 >= FREE_TRIES) and wait_s <= LONGEST_WAIT_S
        now_s += wait_s
    assert wait_s == LONGEST_WAIT_S
    now_s += 901
    brake.failed("10.0.0.1", "one more", now_s)
    assert brake.wait_s("10.0.0.1", now_s) == 0


def test_one_client_is_an_ipv4_address_or_a_64_of_ipv6() -> None:
    brake = Throttle()
    for i in range(FREE_TRIES):
        brake.failed(f"2001:db8:1:2::{i}", f"guess {i}", 0.0)
        brake.failed(f"::ffff:10.0.0.{1}", f"guess {i}", 0.0)
    assert brake.wait_s("2001:db8:1:2:ffff::9", 0.0) > 0
    assert brake.wait_s("2001:db8:1:3::9", 0.0) == 0
    assert brake.wait_s("10.0.0.1", 0.0) > 0
    assert brake.wait_s("10.0.0.2", 0.0) == 0


def test_all_together_have_a_ceiling_and_what_is_remembered_has_one() -> None:
    brake = Throttle()
    for i in range(IN_ALL):
        assert brake.wait_s("10.9.9.9", 0.5) == 0
        brake.failed(f"10.0.{i}.1", "guess", i / IN_ALL)
    assert brake.wait_s("10.9.9.9", 1.0) == pytest.approx(59.0)
    assert brake.wait_s("10.9.9.9", 61.0) == 0
    for i in range(MAX_CLIENTS + 10):
        brake.failed(f"client {i}", "guess", 100.0)
    assert len(brake._clients) == MAX_CLIENTS
