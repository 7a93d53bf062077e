"""Tokens as hashes: made, checked in the YAML, and told apart by the command line."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.access import fits, hash_token, new_token
from streamer.cli import run
from streamer.clock import FakeClock
from streamer.commands import services
from streamer.commands.steps import Steps
from streamer.commands.web_wishes import WEB_WISHES, WebWishes, cookie_secret, web_wishes
from streamer.config import Config, ConfigFileError, load_config
from streamer.errors import ConfigError

MADE = new_token()
HASH = hash_token(MADE)


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_hash_fits_its_token_alone(token: str, other: str) -> None:
    hashed = hash_token(token)
    assert fits(token, hashed) and fits(other, hashed) == (other == token)
    assert hash_token(token) != hashed  # each has a salt of its own


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigFileError) as refusal:
        load_config(path, environ={})
    return [str(problem).removeprefix(f"{path}:") for problem in refusal.value.problems]


def line(name: str = "gate", role: str = "view", hashed: str = HASH) -> str:
    return f"  - {{name: {name}, role: {role}, hash: '{hashed}'}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(hashed=MADE), "2: tokens.0.hash: it is no hash of a token"),
        (line(hashed=HASH[:-1]), "2: tokens.0.hash: it is no hash of a token"),
        (line(hashed="sha256:00:11"), "2: tokens.0.hash: it is no hash of a token"),
        (line(hashed="$2b$12$abcdefghijklmnopqrstuv"), "2: tokens.0.hash: it is no hash of a token"),
        (line(hashed="md5:d41d8cd98f00b204"), "2: tokens.0.hash: this kind of hash is not known"),
        (line() + line("yard") + line("gate"), "4: tokens.2.name: the name gate is taken by a token above"),
        (line(role="admin"), "2: tokens.0.role: not one of the choices — write 'view', 'manage' or 'publish'"),
        (line("'a b'"), "2: tokens.0.name: not a name"),
        ("  - {name: gate, role: view}\n", "2: tokens.0.hash: hash is missing"),
        ("  - {name: gate, role: view, hsah: x}\n", None),
        (line("token") + "token: x\n", "2: tokens.0.name: the name token is taken by the plain token"),
        (line() + "host: 0.0.0.0\n", "3: host: 0.0.0.0 can be reached by others and no token may manage it"),
        ("  - {name: 3}\n", None),
        ("  x\n", None),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str | None) -> None:
    found = mistakes(tmp_path, f"tokens:\n{text}")
    assert all(" — " in each and "\n" not in each for each in found)
    assert MADE not in str(found) and HASH not in str(found)
    if expected is not None:
        assert len(found) == 1 and found[0].startswith(expected), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stream_hosts: [127.0.0.1, 'http://x']\n", "1: stream_hosts.1: it is no address or network"),
        ("trusted_proxies: [proxy.example]\n", "1: trusted_proxies.0: it is no address or network"),
    ],
)
def test_a_wrong_host_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(expected)


def test_a_managing_token_opens_an_address_to_others(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"host: 0.0.0.0\ntokens:\n{line(role='manage')}stream_hosts: [LOCALHOST, 10.0.0.1/8]\n")
    config = load_config(path)
    assert config.tokens[0].hash == HASH and HASH not in repr(config)
    assert config.stream_hosts == ("localhost", "10.0.0.0/8")
    with pytest.raises(ConfigError):
        Config(**{**dict(config), "tokens": ()})


# ------------------------------------------------------------------------------------------------ command line


def test_new_prints_the_token_once_and_a_line_that_the_yaml_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "site.yaml"
    lines, made = ["tokens:"], {}
    for name, role in (("gate-screen", "view"), ("3", "publish"), ("no", "manage")):
        assert run(["token", "new", "--role", role, "--name", name]) == 0
        out, err = capsys.readouterr()
        made[name] = out.strip()
        assert re.fullmatch(r"sl_[A-Za-z0-9_-]{43}\n", out) and made[name] not in err
        lines.append(err.splitlines()[-1])
    path.write_text("\n".join(lines))
    assert [(token.name, token.role) for token in load_config(path).tokens] == [
        ("gate-screen", "view"),
        ("3", "publish"),
        ("no", "manage"),
    ]
    for name, role in (("gate-screen", "view"), ("3", "publish")):
        monkeypatch.setenv("SIGHTLINE_TOKEN_TO_CHECK", made[name])
        assert run(["token", "check", str(path)]) == 0
        assert capsys.readouterr().out == f"{name}: {role}\n"
    monkeypatch.setenv("SIGHTLINE_TOKEN_TO_CHECK", "another")
    assert run(["token", "check", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "no token of this file" in told and "another" not in told


def test_a_name_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "new", "--role", "view", "--name", "a b"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "not a name" in err
    assert run(["token", "new", "--role", "owner", "--name", "x"]) == 2


# ------------------------------------------------------------------------------------------------ to the web


def test_cookies_are_signed_with_a_secret_that_only_this_user_reads_and_that_stays(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = cookie_secret(folder)
    assert cookie_secret(folder) == made and re.fullmatch("[0-9a-f]{64}", made)
    (kept,) = folder.iterdir()
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    kept.write_text("short")
    with pytest.raises(ConfigError, match="too short") as refusal:
        cookie_secret(folder)
    assert str(kept) in str(refusal.value)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        cookie_secret(tmp_path / "file")


def test_the_web_process_is_told_all_that_it_needs(tmp_path: Path) -> None:
    given = {"tokens": [{"name": "gate", "role": "view", "hash": HASH}], "stream_hosts": ["127.0.0.1"]}
    config = Config.model_validate({**given, "data_dir": tmp_path, "trusted_proxies": ["10.0.0.1"]})
    told = WebWishes.model_validate_json(web_wishes(config))
    assert told.tokens == config.tokens and told.secret is not None
    assert told.secret.get_secret_value() == cookie_secret(tmp_path)
    assert (told.stream_hosts, told.trusted_proxies) == (("127.0.0.1",), ("10.0.0.1",))
    assert told.secret.get_secret_value() not in repr(told)
    without = WebWishes.model_validate_json(web_wishes(Config(data_dir=tmp_path / "none")))
    assert without.secret is None and not (tmp_path / "none").exists()


def test_only_the_token_that_the_file_names_reaches_the_web_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(services, "ToldChild", lambda name, _, *, environ, **__: _Child(given, name, environ))
    for token in (None, "plain"):
        config = Config.model_validate({"token": token, "data_dir": tmp_path})
        services.web_service(config, {"HOME": "/"}, FakeClock(), Steps())
        assert given["web"].get("SIGHTLINE_TOKEN") == token
        assert "plain" not in given["web"][WEB_WISHES]


class _Child:
    steps = None

    def __init__(self, given: dict[str, dict[str, str]], name: str, environ: dict[str, str]) -> None:
        given[name] = environ
