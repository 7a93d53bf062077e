"""`sightline doctor`: what this machine has, what is missing, and what that means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from streamer.commands.machine import Finding

MARKS = {"ok": "[green]✓[/]", "info": "[dim]·[/]", "warn": "[yellow]![/]", "bad": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: `sightline doctor --json | jq .ready`")(doctor)


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="With --ice: the YAML file whose webrtc is meant.", metavar="CONFIG", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    ice: Annotated[
        bool, typer.Option("--ice", help="What a browser will see: addresses, ports, STUN and TURN servers.")
    ] = False,
) -> None:
    """Say what this machine has: decoder, Redis, CPU flags, GPU, TensorRT, engines, ports.

    Exit code 1 if something that serving needs is missing; with --ice, if no browser could be reached.
    """
    if ice:
        _doctor_ice(config, as_json=as_json)
        return
    if config is not None:
        raise ConfigError("a file is looked at with --ice only", where="CONFIG", mend="see `sightline check`")
    from streamer.commands.machine import examine

    findings = examine()
    ready = all(f.state != "bad" for f in findings)
    if as_json:
        _say_json({"schema": "sightline.doctor/1", "ready": ready, "findings": _told(findings)})
    else:
        _say_table(findings)
        _console().print("Ready to serve." if ready else "[red]Not ready: see the lines marked ✗.[/]")
    if not ready:
        raise typer.Exit(1)


def _doctor_ice(config: Path | None, *, as_json: bool) -> None:
    from streamer.commands.doctor_ice import examine_ice
    from streamer.config import Config, load_config

    wishes = Config() if config is None else load_config(config)
    report = examine_ice(wishes.webrtc, wishes.max_viewers)
    if as_json:
        _say_json(
            {
                "schema": "sightline.doctor-ice/1",
                "can_work": report.can_work,
                "candidates": [
                    {"kind": c.kind, "address": c.address, "port": c.port or None} for c in report.candidates
                ],
                "findings": _told(report.findings),
            }
        )
    else:
        from rich.markup import escape

        for f in report.findings:
            note = f"  [dim]{escape(f.note)}[/]" if f.note else ""
            line = f"{MARKS[f.state]} {escape(f.area)} {escape(f.name)}: {escape(f.value)}{note}"
            _console().print(line, soft_wrap=True, highlight=False)
    if not report.can_work:
        raise typer.Exit(1)


def _told(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {"area": f.area, "name": f.name, "state": f.state, "value": f.value, "note": f.note} for f in findings
    ]


def _say_json(report: dict[str, object]) -> None:
    import orjson

    typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())


def _console() -> Console:
    from rich.console import Console

    return Console()


def _say_table(findings: Sequence[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "what it means"):
        table.add_column(heading, overflow="fold")
    area = ""
    for f in findings:
        if f.area != area:
            area = f.area
            table.add_row("", f"[bold]{area}[/]", "", "")
        table.add_row(MARKS[f.state], f"  {escape(f.name)}", escape(f.value), f"[dim]{escape(f.note)}[/]")
    _console().print(table)
