"""Which addresses and models may come in through the API? More careful than the YAML, whose author owns the machine.

Files lie under the media root, devices are cameras, and no address leads to link-local or cloud metadata services. A
name is judged by what it resolves to now; a name that resolves to nothing is admitted (its stream will say why it is
not running). The answer is the address as it will be stored.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from streamer.addresses import NETWORK_SCHEMES, local_file
from streamer.errors import ConfigError

Resolve = Callable[[str], Iterable[str]]

_PLAIN_MODEL = re.compile(r"(?!.*\.(onnx|safetensors)$)[A-Za-z0-9][A-Za-z0-9._-]*")
_CAMERA = re.compile(r"(/dev/video|device:(//)?(/dev/video)?)\d+")
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_NETS = tuple(
    ip_network(net)
    for net in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32")
)


def resolve(host: str) -> list[str]:
    """Every address that the system's resolver has for `host`; none if it has none. May block for seconds."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def admit(url: str, *, media_root: Path | None, resolve: Resolve = resolve) -> str:
    """The address to store for `url`, which `StreamConfig` has checked already. Raises ConfigError with the mend."""
    if (file := local_file(url)) is not None:
        return str(_under(file, media_root))
    scheme = url.partition(":")[0].lower()
    if scheme in NETWORK_SCHEMES:
        _check_host(urlsplit(url).hostname or "", resolve)
    elif (scheme == "device" or url.startswith("/dev/")) and not _CAMERA.fullmatch(url):
        raise _refused("not a camera", "write /dev/video0 or device:0")
    return url


def admit_model(model: str, in_use: Collection[str]) -> str:
    """The model as it was given: a plain name, or one that a stream has already (`in_use`), so that its owner knows it.

    A path or an address from outside would have this machine open any file, or fetch and compile any repository.
    Raises ConfigError with the mend.
    """
    if _PLAIN_MODEL.fullmatch(model) or model in in_use:
        return model
    raise ConfigError(
        "files and addresses of models are not admitted at run time",
        where="model",
        mend="give a name of `sightline models ls`, or name the model in the configuration",
    )


def _under(file: Path, media_root: Path | None) -> Path:
    if media_root is None:
        raise _refused("files cannot be added at run time", "set media_root in the configuration")
    root = media_root.resolve()
    path = (root / file).resolve()  # symbolic links are followed before they are judged
    if not path.is_relative_to(root):
        raise _refused("the file lies outside the media folder", "give a path under media_root")
    if not path.is_file():
        raise _refused("there is no such file in the media folder", "paths start at media_root")
    return path


def _check_host(host: str, resolve: Resolve) -> None:
    name = host.lower().rstrip(".")
    literal = name.partition("%")[0]
    addresses = [literal] if _parsed(literal) else list(resolve(name))
    if name in _METADATA_NAMES or any(_is_metadata(address) for address in addresses):
        raise _refused("link-local and metadata addresses are not admitted", "give the camera's own address")
    if any(_is_no_host(address) for address in addresses):
        raise _refused("the address is of no single host", "give the camera's own address")


def _is_metadata(address: str) -> bool:
    ip = _parsed(address)
    return ip is not None and any(ip in net for net in _METADATA_NETS)


def _is_no_host(address: str) -> bool:
    ip = _parsed(address)
    return ip is not None and (ip.is_multicast or ip.is_unspecified)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, IPv6Address):
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def _refused(what: str, mend: str) -> ConfigError:
    return ConfigError(what, where="url", mend=mend)
