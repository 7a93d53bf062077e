"""`sightline doctor`: what this machine has, what is missing, and what that means."""

from __future__ import annotations

from typing import Annotated

import typer

MARKS = {"ok": "[green]✓[/]", "info": "[dim]·[/]", "warn": "[yellow]![/]", "bad": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: `sightline doctor --json | jq .ready`")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Say what this machine has: decoder, Redis, CPU flags, GPU, TensorRT, engines, ports.

    Exit code 1 if something that serving needs is missing.
    """
    from streamer.commands.machine import examine

    findings = examine()
    ready = all(f.state != "bad" for f in findings)
    if as_json:
        import orjson

        report = {
            "schema": "sightline.doctor/1",
            "ready": ready,
            "findings": [
                {"area": f.area, "name": f.name, "state": f.state, "value": f.value, "note": f.note}
                for f in findings
            ],
        }
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        from rich.console import Console
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
        console = Console()
        console.print(table)
        console.print("Ready to serve." if ready else "[red]Not ready: see the lines marked ✗.[/]")
    if not ready:
        raise typer.Exit(1)
