"""Headers of every answer: the page loads nothing foreign, stands in no frame, and nothing of it stays in a cache."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

# What Gradio 6.31 needs was found by taking each word away in Chromium: its page starts from inline scripts, and it
# compiles the template and `js_on_load` of gr.HTML with Function(), hence 'unsafe-inline' and 'unsafe-eval'. It writes
# styles into elements, which no nonce can allow. Nothing foreign may load, no plugin, no frame, no form to others.
_PAGE_CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
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

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in (*_HEADERS.items(), *(_FOREIGN.items() if foreign else ())):
                headers.setdefault(name, value)
            if https:
                headers.setdefault("Strict-Transport-Security", HSTS)
            is_page = headers.get("content-type", "").startswith("text/html")
            headers.setdefault("Content-Security-Policy", _PAGE_CSP if is_page else _DATA_CSP)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
