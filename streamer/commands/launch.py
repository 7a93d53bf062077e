"""From a checked Config to a server that runs: Redis, worker and web under one supervisor, and what is said meanwhile.

Secrets travel to the children by environment, never by arguments, which every user of the machine can read.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from streamer.commands.prepare import prepare_engines
from streamer.commands.services import redis_service, web_service, worker_service
from streamer.commands.steps import Steps

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.supervisor import Service


def launch(
    config: Config, *, source: Path | None = None, open_browser: bool = False, log_level: str = "INFO"
) -> None:
    """Serve until SIGINT or SIGTERM. Raises SightlineError for what keeps it from starting; exits not 0 if unclean."""
    from streamer.addresses import refuse_taken_port
    from streamer.clock import SystemClock
    from streamer.supervisor import Supervisor, stop_on_signals

    began_s = time.monotonic()
    log_level = os.environ.get("LOG_LEVEL", log_level).upper()
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(message)s")
    refuse_taken_port(config.host, config.port, where=str(source) if source is not None else "")
    stop = threading.Event()
    steps = Steps()
    with steps:
        redis, url = redis_service(config, steps)
        precision = prepare_engines(config, steps.say)
        stop_on_signals(stop)
        clock = SystemClock()
        environ = {
            # of tokens only the web process hears, and only of those that the file names
            **{name: value for name, value in os.environ.items() if name != "SIGHTLINE_TOKEN"},
            "REDIS_URL": url,
            "SIGHTLINE_DATA": str(config.data_dir),
            "LOG_LEVEL": log_level,
        }
        services: list[Service] = [
            *([redis] if redis is not None else []),
            worker_service(config, precision, url, environ, clock, steps),
            web_service(config, environ, clock, steps),
        ]

        def ready() -> None:
            steps.done()
            address = page_address(config.host, config.port)
            typer.echo(f"Sightline is ready: {address}")
            took_s = time.monotonic() - began_s
            typer.echo(f"started in {took_s:.1f} s; Ctrl-C ends it", err=True)
            typer.echo(f"events: sightline events tail{_where_flag(config, url)}", err=True)
            if redis is not None:
                typer.echo(f"redis: {redis.hint}", err=True)
            if open_browser:
                show_page(address)

        supervisor = Supervisor(
            services, clock=clock, drain_deadline_s=config.drain_deadline_s, on_ready=ready
        )
        code = supervisor.run(stop)
    if code:
        raise typer.Exit(int(code))


def _where_flag(config: Config, url: str) -> str:
    """What another terminal must add to find this server; nothing where it finds it by itself."""
    from streamer.addresses import redact_url
    from streamer.config import default_data_dir

    if config.redis_url is not None:
        return f" --redis {redact_url(url)}"
    return "" if config.data_dir == default_data_dir() else f" --data-dir {config.data_dir}"


def page_address(host: str, port: int) -> str:
    """What a browser on this machine opens."""
    host = host.strip("[]")
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def show_page(address: str) -> None:
    """Open the page where a person can see it; on a machine without a screen a text browser would take the terminal."""
    import webbrowser

    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdout.isatty():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
