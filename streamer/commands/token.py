"""`sightline token`: make a token that is shown once, and the line of the YAML that knows it by its hash."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

# as `streamer.access.Role`, which help need not load
RoleName = Literal["view", "manage", "publish"]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Tokens for people and programs.")
    group.callback()(_group)
    group.command(epilog="Example: `sightline token new --role view --name gate-screen`")(new)
    group.command(epilog="Example: `sightline token check site.yaml < token.txt`")(check)
    app.add_typer(group, name="token")


def _group() -> None:
    """Tokens for people and programs: who may watch, manage or publish."""


def new(
    name: Annotated[str, typer.Option(help="Whose it is; shown in logs.", show_default=False)],
    role: Annotated[
        RoleName, typer.Option(help="view: watch and read; manage: all; publish: only send video in.")
    ] = "view",
) -> None:
    """Make a token. It goes to stdout, this once; what the YAML needs, which is no secret, goes to stderr."""
    from streamer.access import Role, token_for

    token, made = token_for(name, Role(role))
    typer.echo(token)
    typer.echo("This is the token; it is not shown again. Put this line under tokens: in the YAML:", err=True)
    typer.echo(f"  - {{name: {_quoted(made.name)}, role: {made.role}, hash: '{made.hash}'}}", err=True)


def check(
    config: Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG", show_default=False)],
) -> None:
    """Say whose token it is and what it may do. The token comes from SIGHTLINE_TOKEN_TO_CHECK, a pipe or a prompt.

    Never from an argument: every user of the machine can read those.
    """
    from streamer.access import PLAIN_NAME, Role, fits
    from streamer.config import load_config
    from streamer.errors import ConfigError

    loaded = load_config(config)
    given = os.environ.get("SIGHTLINE_TOKEN_TO_CHECK", "")
    if not given:
        given = typer.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    given = given.strip()
    plain = loaded.token.get_secret_value() if loaded.token is not None else ""
    if plain and plain == given:
        typer.echo(f"{PLAIN_NAME}: {Role.MANAGE}")
        return
    for token in loaded.tokens:
        if fits(given, token.hash):
            typer.echo(f"{token.name}: {token.role}")
            return
    mend = "make one with `sightline token new` and put its line into the file"
    raise ConfigError("no token of this file", where=str(config), mend=mend)


def _quoted(name: str) -> str:
    """As YAML text: a name of digits would else be a number."""
    words = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    return name if name[0].isalpha() and name.lower() not in words else f"'{name}'"
