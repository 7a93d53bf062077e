"""The mistakes of a user's data set: each one line with file, record, field and mend; all of them told at once."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.errors import SightlineError

SHOWN = 20  # lines; the rest is counted


class DataError(SightlineError):
    """All mistakes of one data set: `problems` holds each, str() has a line for the first of them and a count."""

    def __init__(self, problems: Sequence[SightlineError]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{len(self.problems)} mistakes in the data")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN} more mistakes of {len(self.problems)}")
        return "\n".join(lines)


class Mistakes:
    """Collects mistakes while a data set is read, so that one reading finds them all."""

    def __init__(self) -> None:
        self._problems: list[SightlineError] = []

    def add(self, what: str, where: str, mend: str) -> None:
        """One more mistake: `where` names the file, then the record or line, then the field."""
        self._problems.append(SightlineError(what, where=where, mend=mend))

    def __len__(self) -> int:
        return len(self._problems)

    def tell(self) -> None:
        """Raises DataError if there were any."""
        if self._problems:
            raise DataError(self._problems)
