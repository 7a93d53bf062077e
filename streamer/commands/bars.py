"""A progress bar that shows itself at the first news: a mistake in the flags stays one line, without a bar."""

from __future__ import annotations

from types import TracebackType


class LateBar:
    """One bar on stderr, gone when done. `show` may come from any thread; it starts the bar."""

    def __init__(self, description: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar = self._progress.add_task(description, total=None)

    def show(self, done: float, total: float, description: str | None = None) -> None:
        """`done` of `total`, and other words beside the bar if given."""
        if not self._progress.live.is_started:
            self._progress.start()
        self._progress.update(self._bar, completed=done, total=total, description=description)

    def __enter__(self) -> LateBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress.live.is_started:
            self._progress.stop()
