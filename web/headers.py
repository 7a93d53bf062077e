"""Headers of every answer: the page loads nothing foreign, stands in no frame, and nothing of it stays in a cache."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from web.inline import inline_hashes

# What Gradio 6.31 needs was found by taking each word away in Chromium. It compiles the template and `js_on_load` of
# gr.HTML with Function(), so nothing starts without 'unsafe-eval'. Its page starts from inline scripts, which are named
# by their hashes (`web.inline`). It writes styles into elements, which neither a nonce nor a hash can allow, and its
# theme has pictures in data: addresses. blob: is for pictures, clips and video that our own scripts make. Nothing
# foreign may load or be sent to, no plugin, no frame, no worker, no form to others.
_PAGE_CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-eval'{inline}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
LOGIN_CSP = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_DATA_CSP = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # the camera for "use my webcam"; the rest is nobody's business
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}
HSTS = "max-age=31536000"
# A page elsewhere may watch or publish with a token that it was given; cookies never travel there (no -Credentials).
_FOREIGN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After",
}
PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "600",
}


def with_headers(send: Send, *, https: bool, foreign: bool) -> Send:
    """`send` that adds them. `https`: this browser came by it. `foreign`: a page of another origin may read this."""

    start: Message | None = None  # of a page, held until its body is there: the policy names what is in it
    page = b""

    async def send_with_headers(message: Message) -> None:
        nonlocal start, page
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in (*_HEADERS.items(), *(_FOREIGN.items() if foreign else ())):
                headers.setdefault(name, value)
            if https:
                headers.setdefault("Strict-Transport-Security", HSTS)
            headers.setdefault("Cache-Control", "no-store")
            is_page = headers.get("content-type", "").startswith("text/html")
            if is_page and "Content-Security-Policy" not in headers:
                start = message
                return
            headers.setdefault("Content-Security-Policy", _DATA_CSP)
        elif start is not None and message["type"] == "http.response.body":
            page += message.get("body", b"")
            if message.get("more_body"):
                return
            hashes = inline_hashes(page)
            policy = _PAGE_CSP.format(inline=f" {hashes}" if hashes else "")
            MutableHeaders(scope=start)["Content-Security-Policy"] = policy
            await send(start)
            start, message = None, {"type": "http.response.body", "body": page}
        await send(message)

    return send_with_headers


def uncompressed(scope: Scope) -> Scope:
    """The request without its Accept-Encoding: of a page that came compressed, nobody sees which scripts it has."""
    return {**scope, "headers": [each for each in scope["headers"] if each[0] != b"accept-encoding"]}
