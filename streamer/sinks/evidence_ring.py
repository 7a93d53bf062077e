"""The last seconds of one stream's pictures, small: what an event's frame and clip are taken from.

A picture may go once the events that its frame can cause were told and its time is too long ago for a clip: so the
ring looks at what the publisher has judged, not at the newest picture, and a file that is read ahead of its results
keeps what it needs. Memory is bounded whatever happens: first judged pictures are thinned to a clip's rate, sparing
the last one in which each track was seen (its `leave` is still to come); then the oldest goes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Set
from typing import Final

from streamer.sinks.clips import BEFORE_S, CLIP_FPS, Footage
from streamer.sinks.evidence_picture import SmallPicture

# What a clip shows before its event, and a little for the event's own way here.
BACK_S: Final = BEFORE_S + 0.2
# However far the results lag behind.
MOST_S: Final = 6.0
MOST_PICTURES: Final = 400
MOST_BYTES: Final = 32 << 20

Key = tuple[int, int]  # epoch, seq


class PictureRing:
    """Safe from any thread. `put` on the decode thread, `judged` and `find` on the publisher's."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, most_pictures: int = MOST_PICTURES) -> None:
        self._most_bytes, self._most_pictures = most_bytes, most_pictures
        self._lock = threading.Lock()
        self._pictures: OrderedDict[Key, SmallPicture] = OrderedDict()
        self._judged: tuple[int, float] | None = None  # epoch, stream time
        self._spared: Set[int] = frozenset()  # seqs of the judged epoch
        self._footage: Footage | None = None
        self._bytes = 0
        self.thinned = 0
        self.crowded_out = 0

    @property
    def bytes(self) -> int:
        """What the pictures take now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._pictures)

    def put(self, picture: SmallPicture) -> Footage | None:
        """Keep one more, in place of one of the same number. Returns the footage that is complete with it, if any."""
        with self._lock:
            if (picture.ref.epoch, picture.ref.seq) in self._pictures:
                self._drop((picture.ref.epoch, picture.ref.seq))
            self._pictures[picture.ref.epoch, picture.ref.seq] = picture
            self._bytes += picture.bytes
            self._drop_old()
            while len(self._pictures) > 1 and self._over():
                if not self._thin():
                    self._drop(next(iter(self._pictures)))
                    self.crowded_out += 1
            if self._footage is not None and self._footage.add(picture):
                return self._taken()
        return None

    def judged(self, epoch: int, time_s: float, spared: Set[int]) -> None:
        """All events of frames up to this one were told; those in `spared` (seqs) may still be asked for."""
        with self._lock:
            self._judged, self._spared = (epoch, time_s), spared

    def find(self, epoch: int, seq: int) -> SmallPicture | None:
        with self._lock:
            return self._pictures.get((epoch, seq))

    def has_epoch(self, epoch: int) -> bool:
        """Whether any picture of this connection is there."""
        with self._lock:
            return any(at == epoch for at, _ in self._pictures)

    def film(self, footage: Footage) -> list[Footage]:
        """Give `footage` what is there of its span, and what comes. Returns what is done with now: the one before that
        this cuts short, and `footage` itself if all of it was there; else `put` or `cut` gives it back."""
        with self._lock:
            done = [] if self._footage is None else [self._footage]
            self._footage = footage
            if any([footage.add(picture) for picture in self._pictures.values()]):
                self._footage = None
                done.append(footage)
            return done

    def cut(self) -> Footage | None:
        """No more pictures come for now: the footage that was being taken, as far as it is."""
        with self._lock:
            return self._taken()

    def _taken(self) -> Footage | None:
        footage, self._footage = self._footage, None
        return footage

    def _over(self) -> bool:
        return self._bytes > self._most_bytes or len(self._pictures) > self._most_pictures

    def _drop_old(self) -> None:
        newest = next(reversed(self._pictures.values()))
        while len(self._pictures) > 1:
            key, oldest = next(iter(self._pictures.items()))
            epoch = key[0]
            done = self._judged is not None and (
                epoch < self._judged[0]
                or (epoch == self._judged[0] and oldest.time_s < self._judged[1] - BACK_S)
            )
            if not (done or (epoch == newest.ref.epoch and oldest.time_s < newest.time_s - MOST_S)):
                return
            self._drop(key)

    def _thin(self) -> bool:
        """Drop the oldest judged picture whose neighbours are near enough for a clip without it."""
        if self._judged is None:
            return False
        epoch, until_s = self._judged
        pictures = [one for (at, _), one in self._pictures.items() if at == epoch and one.time_s <= until_s]
        for before, one, behind in zip(pictures, pictures[1:], pictures[2:], strict=False):
            if behind.time_s - before.time_s <= 1.02 / CLIP_FPS and one.ref.seq not in self._spared:
                self._drop((epoch, one.ref.seq))
                self.thinned += 1
                return True
        return False

    def _drop(self, key: Key) -> None:
        self._bytes -= self._pictures.pop(key).bytes
