"""Offers as browsers make them, cut down to one codec; more addresses in an answer; the small texts of trickle ICE."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from web.sdp import (
    BadOffer,
    Fragment,
    NoCodec,
    candidates,
    ice_ufrag,
    one_codec,
    parse_fragment,
    video_codec,
    with_addresses,
)

# The codec lines of a Chromium offer (VP8 first, H.264 in several profiles and modes, repair formats).
CHROMIUM_VIDEO = """\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 39 40 98 99 112 113 116
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:ab12
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:103 H264/90000
a=rtcp-fb:103 nack
a=rtcp-fb:103 nack pli
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:104 rtx/90000
a=fmtp:104 apt=103
a=rtpmap:107 H264/90000
a=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f
a=rtpmap:108 rtx/90000
a=fmtp:108 apt=107
a=rtpmap:109 H264/90000
a=rtcp-fb:109 nack
a=rtcp-fb:109 nack pli
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:114 rtx/90000
a=fmtp:114 apt=109
a=rtpmap:39 H264/90000
a=fmtp:39 level-asymmetry-allowed=1; packetization-mode=1; profile-level-id=4d001f
a=rtpmap:40 rtx/90000
a=fmtp:40 apt=39
a=rtpmap:98 VP9/90000
a=fmtp:98 profile-id=0
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:112 red/90000
a=rtpmap:113 rtx/90000
a=fmtp:113 apt=112
a=rtpmap:116 ulpfec/90000
"""
AUDIO = """\
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:ab12
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
"""
SESSION = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\n"
CHROMIUM = (SESSION + CHROMIUM_VIDEO).replace("\n", "\r\n")


def test_only_h264_and_its_repair_stay() -> None:
    (video,) = SessionDescription.parse(one_codec(CHROMIUM)[0]).media
    assert video.fmt == [103, 104, 109, 114, 39, 40]
    assert [c.mimeType for c in video.rtp.codecs] == ["video/H264", "video/rtx"] * 3
    assert video.rtp.codecs[0].rtcpFeedback, "the codec's own lines stay"
    assert "VP8" not in one_codec(CHROMIUM)[0]


def test_other_sections_are_left_alone() -> None:
    offer = SESSION.replace("BUNDLE 0", "BUNDLE 0 1") + CHROMIUM_VIDEO + AUDIO
    cut, _ = one_codec(offer)
    assert cut.endswith(AUDIO.replace("\n", "\r\n"))
    assert cut.startswith(SESSION.replace("BUNDLE 0", "BUNDLE 0 1").replace("\n", "\r\n"))


def test_h264_is_chosen_where_both_are_offered_and_vp8_where_it_alone_is() -> None:
    assert one_codec(CHROMIUM)[1] == "h264"
    no_h264 = "\r\n".join(
        line for line in CHROMIUM.split("\r\n") if "H264" not in line and "packetization-mode" not in line
    )
    cut, codec = one_codec(no_h264)
    (video,) = SessionDescription.parse(cut).media
    assert (codec, video.fmt) == ("vp8", [96, 97])
    # A mode that cannot be sent is no H.264.
    assert one_codec(CHROMIUM.replace("packetization-mode=1", "packetization-mode=0"))[1] == "vp8"


ANSWER = """\
v=0
m=video 41012 UDP/TLS/RTP/SAVPF 96
a=candidate:f1 1 udp 2130706431 10.0.0.5 41012 typ host
a=candidate:f2 1 udp 2130706431 fd00::2 41013 typ host
a=candidate:f3 1 udp 1694498815 198.51.100.9 41012 typ srflx raddr 10.0.0.5 rport 41012
a=end-of-candidates
""".replace("\n", "\r\n")


def test_further_addresses_come_at_the_ports_of_their_family_and_behind_the_own() -> None:
    more = with_addresses(ANSWER, ["203.0.113.7", "2001:db8::7", "10.0.0.5"])
    found = [(c.address, c.port, c.kind) for c in candidates(more)]
    assert found == [
        ("10.0.0.5", 41012, "host"),
        ("203.0.113.7", 41012, "host"),
        ("fd00::2", 41013, "host"),
        ("2001:db8::7", 41013, "host"),
        ("198.51.100.9", 41012, "srflx"),
    ]
    parsed = SessionDescription.parse(more).media[0].ice_candidates
    assert len({c.foundation for c in parsed}) == 5
    assert [c.priority for c in parsed[:4]] == [2130706431, 2130706431 - 256, 2130706431, 2130706431 - 512]
    assert with_addresses(ANSWER, []) == ANSWER
    relayed = ANSWER.replace("typ host", "typ relay")
    assert with_addresses(relayed, ["203.0.113.7"]) == relayed, (
        "nothing of its own is shown, nothing is added"
    )


def test_cutting_twice_changes_nothing() -> None:
    assert one_codec(one_codec(CHROMIUM)[0]) == one_codec(CHROMIUM)


@pytest.mark.parametrize("offer", ["", "hello", "v=0\r\n", SESSION, SESSION + AUDIO])
def test_what_asks_for_no_video_is_refused(offer: str) -> None:
    with pytest.raises(BadOffer) as caught:
        one_codec(offer)
    assert not isinstance(caught.value, NoCodec)


def test_an_offer_of_neither_says_what_it_holds() -> None:
    offer = SESSION + "m=video 9 UDP/TLS/RTP/SAVPF 96 98\na=rtpmap:96 VP9/90000\na=rtpmap:98 AV1/90000\n"
    with pytest.raises(NoCodec, match="av1, vp9"):
        one_codec(offer)


@pytest.mark.parametrize(("cut", "codec"), [(False, "vp8"), (True, "h264")])
def test_the_codec_of_the_answer(cut: bool, codec: str) -> None:
    """Without the cut the answer is VP8, which is the trap; with it, H.264."""

    async def negotiate() -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTransceiver("video", direction="sendonly")
        await pc.setRemoteDescription(
            RTCSessionDescription(one_codec(CHROMIUM)[0] if cut else CHROMIUM, "offer")
        )
        answer = await pc.createAnswer()
        await pc.close()
        return answer.sdp

    assert video_codec(asyncio.run(negotiate())) == codec


def test_an_answer_that_refuses_video_has_no_codec() -> None:
    assert video_codec(SESSION + "m=video 0 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 H264/90000\n") is None
    assert (
        video_codec(SESSION + "m=video 9 UDP/TLS/RTP/SAVPF 96\na=inactive\na=rtpmap:96 H264/90000\n") is None
    )
    assert video_codec(SESSION + AUDIO) is None


def test_a_trickled_fragment() -> None:
    body = (
        "a=ice-ufrag:ab12\r\na=ice-pwd:x\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
        "a=candidate:1 1 UDP 1 10.0.0.1 5000 typ host\r\na=mid:1\r\na=candidate:2 1 UDP 1 10.0.0.2 5001 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    first, second = "1 1 UDP 1 10.0.0.1 5000 typ host", "2 1 UDP 1 10.0.0.2 5001 typ host"
    assert parse_fragment(body) == Fragment((("0", first), ("1", second)), "ab12")
    assert ice_ufrag(CHROMIUM) == "ab12"
    assert ice_ufrag(SESSION) is None
