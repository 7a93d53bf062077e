"""A browser plays an event's clip as the server gives it, and can jump in it before all of it has come."""

from __future__ import annotations

from collections.abc import Callable

from streamer.sinks.clips import Footage, clip_mp4
from streamer.sinks.evidence_picture import jpeg
from tests.browser.conftest import LiveSite, Watched
from tests.fakes.clips import ROUND
from tests.fakes.evidence import event, small

# Load the clip, jump to `at`, and tell its length, its size and where the bar is (as a share of the width).
SHOWN = """async ([url, at]) => {
  const video = document.createElement('video');
  video.muted = true;
  video.preload = 'auto';
  const told = (name) => new Promise((done, fail) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener('error', () => fail(new Error(video.error?.message ?? 'error')), { once: true });
  });
  const loaded = told('loadeddata');
  video.src = url;
  document.body.append(video);
  await loaded;
  const ranges = video.seekable.length && video.seekable.end(0);
  const sought = told('seeked');
  video.currentTime = at;
  await sought;
  const ctx = new OffscreenCanvas(256, 96).getContext('2d');
  ctx.drawImage(video, 0, 0, 256, 96);
  const row = ctx.getImageData(0, 48, 256, 1).data;
  let left = 0;
  while (left < 256 && row[4 * left] < 140) left += 1;
  return { seconds: video.duration, width: video.videoWidth, height: video.videoHeight, seekable: ranges, left };
}"""
PICTURE = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  return [image.naturalWidth, image.naturalHeight];
}"""


def test_a_clip_plays_and_can_be_jumped_in(site: LiveSite, open_page: Callable[..., Watched]) -> None:
    happened = event(60)
    footage = Footage(happened.id, small(60))
    for seq in range(120):
        footage.add(small(seq))
    first, at_s = footage.pictures[0].ref.seq, 3.0
    mp4, jpg = clip_mp4(footage.pictures), jpeg(small(60))

    def keep() -> None:
        site.store.clips[happened.id], site.store.pictures[happened.id] = mp4, jpg

    site.do(keep)
    page = open_page(site.url).page
    at = f"{site.url}/api/v1/events/{happened.id.replace(':', '%3A')}"
    with page.expect_response(lambda answer: answer.url.endswith("clip.mp4")) as asked:
        shown = page.evaluate(SHOWN, [f"{at}/clip.mp4", at_s])
    assert asked.value.status == 206, "the browser asks for parts, and gets them"
    assert abs(shown["seconds"] - 4.0) < 0.15 and (shown["width"], shown["height"]) == (256, 96)
    assert shown["seekable"] > 3.8
    seq = first + round(at_s * 25)
    assert min(abs(shown["left"] / 4 - seq % ROUND), ROUND) <= 2, (shown, seq % ROUND)
    assert page.evaluate(PICTURE, f"{at}/picture.jpg") == [256, 96]
