"""The cameras' RTSP side: what comes in as RTP goes out over RTSP untouched. Run by the system's Python, which has gi.

    /usr/bin/python3 rtsp_camera.py UDP_PORT[,UDP_PORT…] [in-order]

Prints `READY <port>` once it listens on /0, /1, …: one path for each UDP port.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    # Time stamps as the camera wrote them, not of their arrival; with B-frames they go back and forth, which it ends.
    stamps = "! rtpjitterbuffer mode=none latency=0" if sys.argv[2:] == ["in-order"] else ""
    for place, udp_port in enumerate(sys.argv[1].split(",")):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(
            f"( udpsrc address=127.0.0.1 port={int(udp_port)} buffer-size=4194304 "
            'caps="application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96" '
            f"{stamps} "
            "! rtph264depay ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        factory.set_shared(True)
        factory.set_latency(0)
        server.get_mount_points().add_factory(f"/{place}", factory)
    if not server.attach(None):
        sys.exit("no port can be had")
    print(f"READY {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
