"""`sightline bench viewers`: what watching costs, and how late and how true the picture in the browser is.

Each part that is measured is a process of its own: a painted camera over RTSP, the feed (source, encoder, Redis, no
engine), the web process, the viewers, and for comparison a plain server with an encoder for each viewer.
"""
