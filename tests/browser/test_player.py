"""The player: the overlay is of the picture on the screen, no stale picture looks live, and nothing grows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.conftest import LiveSite, Watched
from tests.browser.painted import NUMBERS
from tests.browser.player_bench import open_again, open_bench

RUNS = "(key) => window.sightline.players.get(key)?.live && window.sightline.players.get(key).stats.framesShown > 5"
ENOUGH = 0.995


@pytest.fixture
def bench(chromium: Browser, site: LiveSite) -> Iterator[Watched]:
    watched = open_bench(chromium, site)
    yield watched
    assert not watched.complaints
    watched.page.context.close()


def stats(page: Page, key: str = "a") -> dict[str, Any]:
    return dict(page.evaluate("(key) => window.sightline.players.get(key).stats", key))


def say(page: Page, expression: str) -> Any:
    """The value of an expression in which `p` is the player `a`."""
    return page.evaluate(
        "(() => { const p = window.sightline.players.get('a'); return " + expression + "; })()"
    )


def wait(page: Page, expression: str) -> None:
    page.wait_for_function(
        "(() => { const p = window.sightline.players.get('a'); return " + expression + "; })()"
    )


def test_in_exact_mode_the_overlay_is_of_the_picture_on_the_screen(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a', { mode: 'exact' })")
    page.wait_for_function(RUNS, arg="a")
    before = stats(page)
    pairs = page.evaluate(NUMBERS, [220, "a"])
    after = stats(page)
    in_step = sum(painted == drawn % 65536 and exact for painted, drawn, exact in pairs)
    assert in_step >= ENOUGH * len(pairs), [pair for pair in pairs if pair[0] != pair[1] % 65536]
    assert len({painted for painted, *_ in pairs}) == len(pairs)
    matched, unmatched = (after[key] - before[key] for key in ("matched", "unmatched"))
    assert matched >= ENOUGH * (matched + unmatched)
    assert after["held"] > 0, "results are later than their pictures, so some must have been held"
    page.wait_for_selector(".sl-delay:text-matches('exact · .[0-9]+ ms')")


@pytest.mark.parametrize("inflates", [True, False])
def test_results_come_compressed_where_the_browser_can_inflate_them(
    chromium: Browser, site: LiveSite, inflates: bool
) -> None:
    watched = open_bench(chromium, site)
    page = watched.page
    if not inflates:
        page.context.add_init_script("delete window.DecompressionStream")
        page = open_again(watched, site)
    page.evaluate(
        """() => {
          window.kinds = new Set();
          const channel = RTCPeerConnection.prototype.createDataChannel;
          RTCPeerConnection.prototype.createDataChannel = function (...asked) {
            const made = channel.apply(this, asked);
            made.addEventListener('message', ({ data }) => window.kinds.add(typeof data));
            return made;
          };
        }"""
    )
    page.evaluate("play('a', { mode: 'exact' })")
    page.wait_for_function("window.sightline.players.get('a').stats.matched > 20")
    assert page.evaluate("[...window.kinds].sort()") == (["object", "string"] if inflates else ["string"])
    assert not watched.complaints
    page.context.close()


# Whoever hears the second message fails; the third comes in two halves; the last is no deflate at all.
IN_ORDER = """async () => {
  const { WhepSession } = await import('/ui/whep.js');
  let channel;
  window.RTCPeerConnection = class {
    createDataChannel = (label, init) => (channel = { label, ...init });
    addTransceiver = () => ({ setCodecPreferences() {} });
    setLocalDescription = async () => (this.localDescription = { sdp: '' });
    close() {}
  };
  const [heard, ends] = [[], []];
  const session = new WhepSession({
    onMessage: ({ n }) => {
      heard.push(n);
      if (n === 2) throw new Error('the second');
    },
    onEnd: (why) => ends.push(why),
  });
  session.open('/nowhere/whep').catch(() => {});
  const until = async (holds) => {
    while (!holds()) await new Promise((done) => setTimeout(done, 5));
  };
  await until(() => channel);
  const send = (bytes) => channel.onmessage({ data: new Uint8Array(bytes).buffer });
  for (const bytes of MESSAGES) send(bytes);
  channel.onmessage({ data: '{"n":0}' });
  await until(() => heard.length === 5);
  send([255, 255, 255]);
  await until(() => ends.length);
  send(MESSAGES[0]);
  await new Promise((done) => setTimeout(done, 100));
  return [channel.label, channel.protocol, heard, ends];
}"""


def test_compressed_messages_are_heard_in_order_and_what_is_none_ends_the_session(bench: Watched) -> None:
    page = bench.page
    lines = [f'{{"n":{n},"word":"häuser"}}\n'.encode() for n in (1, 2, 3, 4)]
    packed = [
        packer.compress(line) + packer.flush(zlib.Z_SYNC_FLUSH)
        for line, packer in zip(lines, packers(), strict=False)
    ]
    first, second, third, fourth = (list(message) for message in packed)
    messages = [first, second, third[:9], third[9:], fourth]
    told = page.evaluate(IN_ORDER.replace("MESSAGES", str(messages)))
    assert told == ["results", "deflate", [0, 1, 2, 3, 4], ["the results cannot be read"]]
    assert bench.complaints == ["the second"], "a fault of who hears is told as an error of the page"
    bench.complaints.clear()


def packers() -> Iterator[Any]:
    while True:
        yield zlib.compressobj(5, zlib.DEFLATED, -zlib.MAX_WBITS)


def test_counts_in_zones_that_are_told_again_are_no_change_to_draw(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a', { mode: 'live' })")
    page.wait_for_function(RUNS, arg="a")
    told = page.evaluate(
        """() => {
          const p = window.sightline.players.get('a');
          const draw = p.overlay.draw;
          let seen;
          p.overlay.draw = (result, how) => { seen = how.inside; };
          const after = (zone_objects) => { p.setState({ state: 'RUNNING', zone_objects }); p.redraw(); return seen; };
          const first = after({ door: 1 });
          const same = [after({ door: 1 }), after('{"door":1}'), after(undefined)].map((inside) => inside === first);
          const others = [after({ door: 2 }), after('{"door":3}'), after('{}'), after(null)];
          p.overlay.draw = draw;
          return [first, same, others];
        }"""
    )
    assert told == [{"door": 1}, [True, True, True], [{"door": 2}, {"door": 3}, {}, None]]


def test_live_mode_waits_for_nothing_and_says_what_is_not_of_this_picture(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a', { mode: 'live' })")
    page.wait_for_function(RUNS, arg="a")
    assert say(page, "p.picture === p.video && p.tile.querySelector('.sl-held') === null")
    pairs = page.evaluate(NUMBERS, [60, "a"])
    # a result is 60 ms behind its picture: at the moment of showing, it is mostly that of the picture before
    assert all(drawn <= painted for painted, drawn, exact in pairs if drawn >= 0 and not exact)
    wait(page, "p.stats.matched > 20")  # but it comes while the picture is still there
    assert stats(page)["held"] == 0
    page.evaluate("window.sightline.players.get('a').setMode('exact')")
    wait(page, "p.stats.held > 3 && p.presenter.shown?.exact && p.picture.className === 'sl-held'")


def test_results_that_never_come_let_the_picture_go_on_and_are_counted(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a')")
    page.wait_for_function(RUNS, arg="a")
    before = stats(page)
    page.evaluate("window.sightline.players.get('a').timeline.add = () => null")
    wait(page, f"p.stats.unmatched > {before['unmatched'] + 8}")
    assert say(page, "p.live"), "the picture is new, so it may look live"
    shown = stats(page)
    assert shown["matched"] + shown["unmatched"] == shown["framesShown"]
    page.wait_for_selector(".sl-hint:visible")
    assert "boxes" in page.inner_text(".sl-hint")


def test_the_offer_goes_out_at_once_and_candidates_follow(bench: Watched) -> None:
    page = bench.page
    with (
        page.expect_request(lambda r: r.method == "PATCH") as patch,
        page.expect_request(lambda r: r.method == "POST" and r.url.endswith("/whep")) as post,
    ):
        page.evaluate("play('a')")
    offer = post.value.post_data or ""
    assert "a=candidate" not in offer
    assert offer.index("H264/90000") < offer.index("VP8/90000")
    body = patch.value.post_data or ""
    assert "a=candidate:" in body and "a=mid:0" in body and "a=ice-ufrag:" in body
    assert patch.value.headers["if-match"].strip('"') == patch.value.url.rsplit("/", 1)[1]
    page.wait_for_function(RUNS, arg="a")
    assert 0 < stats(page)["firstPictureMs"] < 20_000
    with page.expect_request(lambda r: r.method == "DELETE") as delete:
        page.evaluate("stop('a')")
    assert delete.value.url == patch.value.url


def test_the_servers_ice_servers_are_used(bench: Watched) -> None:
    page = bench.page
    told = '{"ice_servers": [{"urls": ["stun:127.0.0.1:9"]}], "relay_only": true}'
    page.route("**/api/v1/ice", lambda route: route.fulfill(body=told, content_type="application/json"))
    found = page.evaluate(
        """async () => {
          const { iceSettings } = await import('/ui/whep.js');
          const settings = await iceSettings();
          const { iceServers, iceTransportPolicy } = new RTCPeerConnection(settings).getConfiguration();
          return [iceServers.map(({ urls }) => urls).flat(), iceTransportPolicy, await iceSettings() === settings];
        }"""
    )
    assert found == [["stun:127.0.0.1:9"], "relay", True]


def test_a_full_server_is_told_in_its_own_words_and_asked_again(bench: Watched) -> None:
    page = bench.page
    full = '{"title": "Service Unavailable", "detail": "64 viewers are watching, which is all this process serves"}'

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body=full, content_type="application/problem+json")

    page.route("**/street/whep", refuse)
    page.evaluate("play('a')")
    page.wait_for_selector(".sl-down .sl-why-title:text('No place free')")
    words = page.inner_text(".sl-why-text")
    assert "64 viewers are watching" in words and "trying again in" in words
    page.unroute("**/street/whep", refuse)
    page.evaluate("dispatchEvent(new Event('online'))")  # the network is back: no need to wait
    page.wait_for_function(RUNS, arg="a")
    assert stats(page)["connects"] == 2


def test_a_lost_session_is_opened_again_and_is_in_step_again(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a')")
    page.wait_for_function(RUNS, arg="a")
    with page.expect_response(lambda r: r.request.method == "POST" and r.url.endswith("/whep")) as again:
        (patch,) = {line.split(" ")[1] for line in bench.requests if line.startswith("PATCH")}
        page.evaluate("(url) => fetch(url, { method: 'DELETE' })", patch)
    assert again.value.status == 201
    page.wait_for_function(RUNS, arg="a")
    pairs = page.evaluate(NUMBERS, [30, "a"])
    assert all(painted == drawn % 65536 for painted, drawn, _ in pairs[2:])


def test_a_picture_that_stops_is_told_as_old_and_the_overlay_stays_its_own(
    site: LiveSite, bench: Watched
) -> None:
    page = bench.page
    page.evaluate("play('a')")
    page.wait_for_function(RUNS, arg="a")
    site.do(lambda: setattr(site.street, "frozen", True))
    try:
        page.wait_for_selector(".sl-down .sl-why-title:text('No new picture')")
        assert not say(page, "p.live")
        assert "grayscale" in page.evaluate("getComputedStyle(document.querySelector('.sl-held')).filter")
    finally:
        site.do(lambda: setattr(site.street, "frozen", False))
    wait(page, "p.live")


def test_the_same_picture_again_is_no_new_picture(bench: Watched) -> None:
    page = bench.page
    for mode in ("exact", "live"):
        page.evaluate("(mode) => play('a', { mode })", mode)
        page.wait_for_function(RUNS, arg="a")
        # from now on the browser says again and again that it shows the frame it has
        page.evaluate(
            """() => {
              const { video, presenter } = window.sightline.players.get('a');
              window.said = 0;
              const { stamp } = presenter.shown;
              video.requestVideoFrameCallback = (told) => setTimeout(() => {
                if (window.said++ === 0) video.pause();
                told(performance.now(), { rtpTimestamp: stamp, receiveTime: performance.now() });
              }, 40);
            }"""
        )
        page.wait_for_selector(".sl-down .sl-why-title:text('No new picture')")
        assert page.evaluate("window.said") > 20
        page.evaluate("stop('a')")


def test_a_page_that_comes_back_shows_nothing_old_as_live(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a')")
    page.wait_for_function(RUNS, arg="a")
    page.evaluate(
        """() => {
          const p = window.sightline.players.get('a');
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
          document.dispatchEvent(new Event('visibilitychange'));
          p.presenter.shown = { ...p.presenter.shown, at: performance.now() - 60000 };  // it slept for a minute
          p.video.requestVideoFrameCallback = () => 0;
        }"""
    )
    page.evaluate(
        """() => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => false });
          const p = window.sightline.players.get('a');
          p.presenter.shown = p.presenter.shown && { ...p.presenter.shown, at: performance.now() - 60000 };
          document.dispatchEvent(new Event('visibilitychange'));
          window.cameBack = [p.live, p.tile.querySelector('.sl-why-title').textContent];
        }"""
    )
    assert page.evaluate("window.cameBack") == [False, "Coming back"]


def test_a_click_on_a_drawn_object_is_told(bench: Watched) -> None:
    page = bench.page
    page.evaluate("play('a')")
    page.wait_for_function(RUNS, arg="a")
    wait(page, "p.drawn?.objects.length")
    found = page.evaluate(
        """() => {
          const p = window.sightline.players.get('a'), { left, top, width, height } = p.video.getBoundingClientRect();
          const area = ({ box_xyxy: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
          const [one] = [...p.drawn.objects].sort((a, b) => area(a) - area(b));
          const [h, w] = p.drawn.source_hw, [x1, y1, x2, y2] = one.box_xyxy;
          const at = { clientX: left + width * (x1 + x2) / 2 / w, clientY: top + height * (y1 + y2) / 2 / h };
          p.video.dispatchEvent(new PointerEvent('click', { bubbles: true, ...at }));
          const corner = { clientX: left + 1, clientY: top + height - 1 };
          p.video.dispatchEvent(new PointerEvent('click', { bubbles: true, ...corner }));
          return [p.drawn.objects.map(({ id }) => id), p.stamp, window.objects];
        }"""
    )
    ids, stamp, told = found
    assert told, "an object was clicked"
    assert told[0]["stream"] == "street" and told[0]["stamp"] == stamp
    assert told[0]["track_id"] == told[0]["object"]["id"] and told[0]["track_id"] in ids
    assert len(told) == 1, "there is nobody in the corner"


def test_nine_players_keep_what_they_need_and_no_more(chromium: Browser, site: LiveSite) -> None:
    watched = open_bench(chromium, site)
    page = watched.page
    page.evaluate("for (let i = 0; i < 9; i++) play(String(i))")
    for key in "012345678":
        page.wait_for_function(RUNS, arg=key)
    cdp = page.context.new_cdp_session(page)
    all_shown = "[...window.sightline.players.values()].reduce((sum, p) => sum + p.stats.framesShown, 0)"

    def heap_mb() -> float:
        for _ in range(2):
            cdp.send("HeapProfiler.collectGarbage")
        return float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    def play_on(pictures: int) -> None:
        page.wait_for_function(f"{all_shown} > {page.evaluate(all_shown) + pictures}")

    play_on(500)  # timelines hold five seconds; after that they must be full
    first = heap_mb()
    play_on(700)
    second = heap_mb()
    kept = page.evaluate(
        "[...window.sightline.players.values()].map((p) => [p.timeline.size, p.presenter.heldCanvases])"
    )
    assert all(results <= 5 * 12.5 + 5 and canvases <= 32 for results, canvases in kept), kept
    assert second < first + 1.5, (first, second)
    page.evaluate("for (const key of [...window.sightline.players.keys()]) stop(key)")
    assert not watched.complaints
    page.context.close()
