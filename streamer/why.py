"""Why did it fire? Asks a second engine, which tells where it looked, about frames that were answered already.

    events ──► happened ─┐ one a second and stream                  ┌─► with the event's evidence
    people ──► asked ────┴─► bounded, counted ─► a thread of its own ┴─► the question's key

The frame and the state before it come from the stream's ring (`remembered`): the same row is found again, not a similar
one. The thread has the lowest priority, people go first, and after each event it rests three times as long as that one
took, so that at most a quarter of one core is spent on what nobody asked for. What cannot be answered is said in words.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np

from streamer.clock import Clock
from streamer.errors import EngineError, SightlineError
from streamer.metrics import Metrics
from streamer.ports import Explainer
from streamer.remembered import Memory, Moment, Served
from streamer.types import F32, Event, event_id_parts
from streamer.wire.answers import encode_refusal, encode_why

log = logging.getLogger(__name__)

EVENTS_PER_S: Final = 1.0  # of one stream
MOST_EVENTS: Final = 16  # that wait, of all streams
MOST_ASKED: Final = 16  # likewise, by people
REST: Final = 3
BUILDING_S: Final = 1.0  # an engine that takes longer to open is being built
HURRY_S: Final = (
    60.0  # for so long a build stays behind the streams though somebody waits: it may be nearly done
)
RETRY_S: Final = 60.0
GONE = "the worker no longer remembers that frame", "ask sooner: it keeps a few seconds of each stream"


class Answers(Protocol):
    """Where answers go; never raises."""

    def keep_why(self, stream: str, event: str, data: bytes) -> None: ...

    def answer_why(self, stream: str, question: str, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class _Question:
    """About one track in one moment: because of an `event`, for a person (`question`), or both.

    `similarity` is worked out when it is asked, so that a question that waits holds one picture and not fifty.
    """

    stream: str
    served: Served
    moment: Moment
    track_id: int
    similarity: Sequence[tuple[int, float]]
    event: str | None = None
    question: str | None = None


class _No(Exception):
    """A question that has no answer, and what HTTP calls that."""

    def __init__(self, status: int, what: str, where: str, mend: str) -> None:
        super().__init__(what)
        self.status, self.error = status, EngineError(what, where=where, mend=mend)


class Asker:
    """Answers questions one by one. `happened` and `asked` are for other threads and return at once.

    `open_explainer` makes a model's second engine, which may take minutes and is done once, on the asker's thread, so
    that no stream notices, until the event it is given is set: then somebody waits. It raises EngineError where there
    is none. `query_of` reads a track's query out of a state, None where it has none.
    """

    def __init__(
        self,
        memory: Memory,
        open_explainer: Callable[[Served, threading.Event], Explainer],
        query_of: Callable[[Any, int], F32 | None],
        answers: Answers,
        *,
        clock: Clock,
        metrics: Metrics,
        events_per_s: float = EVENTS_PER_S,
    ) -> None:
        self._memory, self._open, self._query_of = memory, open_explainer, query_of
        self._answers, self._clock, self._metrics = answers, clock, metrics
        self._every_ns = int(1e9 / events_per_s)
        self._events: deque[_Question] = deque()
        self._people: deque[_Question] = deque()
        self._accepted_ns: dict[str, int] = {}
        self._explainers: dict[Served, Explainer] = {}
        self._refused: dict[
            Served, tuple[EngineError, int]
        ] = {}  # a model without one, and when that was found
        self._opening: tuple[Served, int] | None = None
        self._hurry = threading.Event()  # of the engine that is being opened
        self._rest_until_ns = 0
        self._opening_ns = 0  # of the question at hand: what opening its engine took
        self._lock = threading.Lock()
        self._kick = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="why", daemon=True)
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop after the question at hand. A build that is under way is left behind: it ends with the process."""
        self._closed.set()
        self._kick.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            for explainer in self._explainers.values():
                explainer.close()

    def forget(self, stream: str) -> None:
        """The stream was removed."""
        self._memory.forget(stream)
        with self._lock:
            self._accepted_ns.pop(stream, None)

    # ----------------------------------------------------------------------------------------------- questions

    def happened(self, events: Sequence[Event]) -> None:
        """Ask why, for those events that are of objects, as far as the rate and the queue allow."""
        now_ns = self._clock.monotonic_ns()
        for event in events:
            ring = self._memory.ring(event.stream)
            if event.track_id is None or ring is None or not len(ring):
                continue
            last_ns = self._accepted_ns.get(event.stream)
            if last_ns is not None and now_ns - last_ns < self._every_ns:
                self._count(event.stream, "skipped:rate")
                continue
            moments = ring.of_track(event.track_id, epoch=event.epoch, at_most=event.seq)
            if not moments:
                self._count(event.stream, "skipped:gone")
            elif len(self._events) >= MOST_EVENTS:
                self._count(event.stream, "skipped:busy")
            else:
                with self._lock:
                    self._accepted_ns[event.stream] = now_ns
                self._events.append(self._question(ring.served, moments, event.track_id, event=event.id))
                self._kick.set()

    def asked(self, message: Mapping[str, Any]) -> None:
        """A person's question: `stream`, `question` (names the answer), and `track_id` or the id of an `event`."""
        stream, question = str(message.get("stream", "")), str(message.get("question", ""))
        try:
            asked = self._understood(stream, question, message)
        except _No as no:
            self._refuse(stream, None, question, no.error, no.status)
            return
        self._people.append(asked)
        self._kick.set()

    def _understood(self, stream: str, question: str, message: Mapping[str, Any]) -> _Question:
        ring = self._memory.ring(stream)
        if ring is None:
            raise _No(409, "no frame of this stream was answered yet", stream, "ask when it is RUNNING")
        if (known := self._refused.get(ring.served)) is not None and not self._again(known[1]):
            raise _No(409, known[0].what, known[0].where, known[0].mend)
        if (
            self._opening is not None
            and self._opening[0] == ring.served
            and self._age_s(self._opening[1]) > BUILDING_S
        ):
            if self._age_s(self._opening[1]) > HURRY_S:
                self._hurry.set()
            what = f"the engine that shows the attention of {ring.served.name} is being prepared"
            raise _No(503, what, stream, "ask again in a minute; that is done once for this machine")
        event, track_id, epoch, seq = message.get("event"), message.get("track_id"), None, None
        if event is not None:
            try:
                epoch, seq, track_id = _object_of(str(event))
            except ValueError:
                raise _No(
                    409, "the event is of no object", str(event), "ask about appear, enter, …"
                ) from None
        if not isinstance(track_id, int):
            raise _No(422, "track_id is no number", stream, 'write {"track_id": 7}')
        if not len(ring):
            what = f"model {ring.served.name} has no attention to show"
            raise _No(409, what, stream, "models of the families street and detr have")
        moments = ring.of_track(track_id, epoch=epoch, at_most=seq)
        if not moments and event is not None:
            raise _No(404, GONE[0], str(event), GONE[1])
        if not moments:
            what = f"track {track_id} is in none of the last {len(ring)} pictures"
            raise _No(409, what, stream, "ask about one that is in the picture")
        if len(self._people) >= MOST_ASKED:
            raise _No(503, f"{MOST_ASKED} questions wait already", stream, "ask again in a few seconds")
        kept = None if event is None else str(event)
        return self._question(ring.served, moments, track_id, event=kept, question=question)

    def _question(
        self, served: Served, moments: Sequence[Moment], track_id: int, **of: str | None
    ) -> _Question:
        """About the newest of `moments`, which is their first."""
        newest = moments[0]
        similarity = self._similarity(moments, track_id)
        return _Question(newest.frame.ref.stream, served, newest, track_id, similarity, **of)

    # ------------------------------------------------------------------------------------------------- answers

    def step(self) -> float | None:
        """Answer one question, people's first; how long to wait for the next, None if none waits. No thread needed."""
        now_ns = self._clock.monotonic_ns()
        if self._people:
            self._answer(self._people.popleft())
        elif self._events:
            if now_ns < self._rest_until_ns:
                return (self._rest_until_ns - now_ns) / 1e9
            self._answer(self._events.popleft())
            ended_ns = self._clock.monotonic_ns()
            self._rest_until_ns = ended_ns + REST * (ended_ns - now_ns - self._opening_ns)
        return 0.0 if self._people or self._events else None

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # of this thread alone, and of those it starts
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._closed.is_set():
            pause_s = self.step()
            if pause_s != 0.0:
                self._clock.wait(self._kick, 3600.0 if pause_s is None else pause_s)
                self._kick.clear()

    def _answer(self, question: _Question) -> None:
        began_ns, self._opening_ns = self._clock.monotonic_ns(), 0
        stream, event, asked = question.stream, question.event, question.question
        try:
            data = self._said(question)
        except EngineError as error:
            self._refuse(stream, event, asked, error, 409)
            return
        except Exception as error:
            log.exception("stream %s: why track %d", stream, question.track_id)
            self._metrics.errors.add(1, "why")
            what = f"the question failed: {type(error).__name__}"
            self._refuse(stream, event, asked, EngineError(what, where=stream, mend="see the log"), 500)
            return
        if event is not None:
            self._answers.keep_why(stream, event, data(None))
        if asked is not None:
            self._answers.answer_why(stream, asked, data(_jpeg(question.moment)))
        self._count(stream, "answered")
        took_ns = self._clock.monotonic_ns() - began_ns - self._opening_ns
        self._metrics.why_seconds.observe(took_ns / 1e9, question.served.name)

    def _said(self, question: _Question) -> Callable[[bytes | None], bytes]:
        """The answer, given the picture to go with it."""
        explainer = self._explainer(question.served)
        moment, track_id = question.moment, question.track_id
        box = moment.box_of(track_id)
        assert box is not None
        looks = explainer.looks(moment.frame, moment.before, track_id, box)

        def encoded(jpeg: bytes | None) -> bytes:
            return encode_why(
                looks,
                model=question.served.name,
                layer=explainer.layer,
                wall_ns=moment.frame.ref.wall_ns,
                track_id=track_id,
                similarity=question.similarity,
                jpeg=jpeg,
            )

        return encoded

    def _similarity(self, moments: Sequence[Moment], track_id: int) -> list[tuple[int, float]]:
        """The cosine of the track's query in each moment with that in the first of them, which is the newest."""
        now = self._query_of(moments[0].after, track_id)
        found: list[tuple[int, float]] = []
        for moment in reversed(moments):
            then = self._query_of(moment.after, track_id)
            if now is not None and then is not None:
                length = float(np.linalg.norm(now) * np.linalg.norm(then))
                found.append((moment.frame.ref.wall_ns, float(now @ then) / max(length, 1e-12)))
        return found

    def _explainer(self, served: Served) -> Explainer:
        if (made := self._explainers.get(served)) is not None:
            return made
        if (known := self._refused.get(served)) is not None and not self._again(known[1]):
            raise known[0]
        self._hurry = threading.Event()
        self._opening = served, self._clock.monotonic_ns()
        try:
            made = self._explainers[served] = self._open(served, self._hurry)
        except EngineError as error:
            log.warning("why %s: %s", served.name, error)
            self._refused[served] = error, self._clock.monotonic_ns()
            raise
        finally:
            self._opening_ns += self._clock.monotonic_ns() - self._opening[1]
            self._opening = None
        return made

    def _refuse(
        self, stream: str, event: str | None, question: str | None, error: SightlineError, status: int
    ) -> None:
        self._count(stream, "refused")
        if question:
            self._answers.answer_why(stream, question, encode_refusal(error, status))
        elif event is not None:
            log.info("why %s: %s", event, error)

    def _count(self, stream: str, end: str) -> None:
        self.counts[end] += 1
        self._metrics.why.add(1, stream, end)

    def _again(self, since_ns: int) -> bool:
        return self._age_s(since_ns) > RETRY_S

    def _age_s(self, since_ns: int) -> float:
        return (self._clock.monotonic_ns() - since_ns) / 1e9


def _object_of(event: str) -> tuple[int, int, int]:
    """Epoch, seq and track of an event's id. Raises ValueError for an event of no object."""
    _, epoch, seq, _, track_id, _ = event_id_parts(event)
    if track_id is None:
        raise ValueError(f"{event} is of no object")
    return epoch, seq, track_id


def _jpeg(moment: Moment) -> bytes:
    """The picture as the engine saw it."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(moment.frame.image, cv2.COLOR_RGB2BGR))
    return data.tobytes()
