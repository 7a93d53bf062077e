"""A real RTSP server for tests: gst-rtsp-server serving a file. Run it with the system's Python, which has gi.

    /usr/bin/python3 rtsp_server.py FILE [--port N] [--path /live] [--user NAME --password WORD]
                                         [--sets-beside] [--h265]

Prints `READY <port>` once it listens. The H.264 or H.265 of the file goes out untouched, in real time, once, and is
shared by all who watch; a test that needs a camera for long serves a long file.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

DEMUXERS = {".mp4": "qtdemux", ".mov": "qtdemux", ".ts": "tsdemux", ".mkv": "matroskademux"}


def pipeline_of(path: str, in_band: bool, codec: str) -> str:
    """From file to RTP packets without touching the pictures; parameter sets at each key frame, or in the SDP alone."""
    demuxer = DEMUXERS[path[path.rindex(".") :]]
    interval = -1 if in_band else 0
    return (
        f'( filesrc location="{path}" ! {demuxer} ! {codec}parse config-interval={interval} ! '
        f"rtp{codec}pay name=pay0 pt=96 config-interval={interval} )"
    )


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("file")
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--path", default="/live")
    words.add_argument("--user")
    words.add_argument("--password")
    words.add_argument("--sets-beside", action="store_true")
    words.add_argument("--h265", action="store_true")
    given = words.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline_of(given.file, not given.sets_beside, "h265" if given.h265 else "h264"))
    factory.set_shared(True)
    if given.user:
        # Whoever knows the word may see the stream; everybody else is asked for it.
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(given.user, given.password), token)
        server.set_auth(auth)
        role = Gst.Structure.new_from_string(
            "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_role_from_structure(role)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(given.path, factory)
    if not server.attach(None):
        sys.exit(f"port {given.port} cannot be had")
    print(f"READY {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
