"""What a start is doing right now: a spinner on a terminal, one line a step everywhere else."""

from __future__ import annotations

from types import TracebackType


class Steps:
    """Tells steps on stderr until `done`. A context manager, so that a mistake never leaves a spinner behind."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self._said = ""

    def say(self, line: str) -> None:
        """The step that begins now; the same one again is told once."""
        from rich.markup import escape

        if line == self._said:
            return
        self._said = line
        if self._status is None:
            self._console.print(line, markup=False, soft_wrap=True)
        else:
            self._status.start()
            self._status.update(escape(line))

    def done(self) -> None:
        """The start is over; what is said from now on is the log's."""
        if self._status is not None:
            self._status.stop()

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()
