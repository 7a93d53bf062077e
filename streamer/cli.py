"""The command line: which commands there are, and how a mistake is told.

A user's mistake is one line on stderr and an exit code: 1 for what failed, 2 for wrong usage, 130 for Ctrl-C.
`--debug` (or SIGHTLINE_DEBUG=1) shows the traceback as well. Command modules import what they need when they run, so
that help is quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from streamer import __version__
from streamer.errors import SightlineError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="sightline",
    help="Sightline turns live video into events: it finds, follows and outlines what moves, on CPU or GPU.\n\n"
    "Start with `sightline demo`, then point it at a camera: `sightline serve site.yaml`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    if debug:
        os.environ["SIGHTLINE_DEBUG"] = "1"


# In the order that help shows them; `worker` and `web` are hidden: the supervisor starts them.
COMMANDS = (
    *("demo", "serve", "check", "streams", "events", "models", "world"),
    *("train", "evaluate", "bench", "doctor", "token", "schema", "worker", "web"),
)
for name in COMMANDS:
    if importlib.util.find_spec(f"streamer.commands.{name}") is not None:
        importlib.import_module(f"streamer.commands.{name}").register(app)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"sightline {__version__}")


def main(args: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Whatever goes wrong is one line on stderr."""
    try:
        code = app(args=None if args is None else list(args), prog_name="sightline", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except SightlineError as error:
        return _fail(str(error), FAILED)
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        told = f"unexpected {type(error).__name__}: {error} — run again with --debug and report this"
        return _fail(" ".join(told.split()), FAILED)


def _usage(error: typer.TyperException) -> int:
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sightline"
    return _fail(f"{' '.join(message.split()).rstrip('.')} — see {command} --help", error.exit_code)


def _fail(line: str, code: int) -> int:
    if os.environ.get("SIGHTLINE_DEBUG"):
        traceback.print_exc()
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
