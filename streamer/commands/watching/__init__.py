"""`sightline bench viewers` and `bench wall`: what watching costs, how late and how true the picture in the browser is,
and whether anything grows while many cameras are watched.

Each part that is measured is a process of its own: painted cameras over RTSP, the feed (source, encoder, Redis, no
engine) or a whole server, the web process, the viewers, and for comparison a plain server with an encoder for each
viewer.
"""
