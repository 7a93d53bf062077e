"""Which scripts stand in a page itself? Their hashes are what the page's Content-Security-Policy lets run inline.

Gradio's page starts from scripts in its own text, which differ with the address it is asked for. A policy that names
each by its SHA-256 lets these run and nothing else: no script that somebody got into a stream's name, and no
`onerror=` either.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache

# As the HTML standard reads it: the first `</script` ends a script, whatever stands around it.
_SCRIPT = re.compile(rb"<script((?:\s[^>]*)?)>(.*?)</script", re.DOTALL | re.IGNORECASE)
_SOURCE = re.compile(rb"\ssrc\s*=", re.IGNORECASE)


@lru_cache(maxsize=16)
def inline_hashes(page: bytes) -> str:
    """`'sha256-…' 'sha256-…'` of the inline scripts in this HTML (UTF-8), in their order, each once; empty if none."""
    bodies = [body for attributes, body in _SCRIPT.findall(page) if not _SOURCE.search(attributes)]
    # the parser turns CR LF and CR into LF before anything is hashed
    plain = dict.fromkeys(body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") for body in bodies)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in plain)
