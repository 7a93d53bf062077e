"""What the supervisor tells the web process comes out as it went in, secrets in plain."""

import pytest

from streamer.commands.web_wishes import WebWishes, web_wishes
from streamer.config import Config
from streamer.network import WebRtcConfig

TURN = {"url": "turn:relay:3478", "username": "me", "credential": "s3cret"}


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {
            "max_viewers": 3,
            "max_viewers_per_stream": 2,
            "webrtc": WebRtcConfig(udp_ports="50000-50100", hosts=("198.51.100.7",)),
        },
        {"webrtc": WebRtcConfig(ice_servers=(TURN,), relay_only=True)},
    ],
)
def test_wishes_arrive(wishes):
    config = Config(**wishes)
    told = WebWishes.model_validate_json(web_wishes(config))
    assert told.max_viewers_per_stream == config.max_viewers_per_stream
    assert (told.webrtc, told.max_viewers, told.tokens) == (config.webrtc, config.max_viewers, config.tokens)


def test_a_password_is_in_the_environment_alone():
    config = Config(webrtc=WebRtcConfig(ice_servers=(TURN,)))
    assert "s3cret" in web_wishes(config) and "s3cret" not in repr(config)
    (server,) = WebWishes.model_validate_json(web_wishes(config)).webrtc.ice_servers
    assert server.credential is not None and server.credential.get_secret_value() == "s3cret"
