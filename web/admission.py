"""Which addresses and models may come in through the API? More careful than the YAML, whose author owns the machine.

Files lie under the media root, devices are cameras, and hosts are those that `streamer.reach` admits. A name is judged
by what it resolves to now, and again by the worker when it is dialled; a name that resolves to nothing is admitted
(its stream will say why it is not running). The answer is the address as it will be stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from streamer.addresses import NETWORK_SCHEMES, local_file
from streamer.errors import ConfigError
from streamer.reach import Resolve, admitted, resolve

_PLAIN_MODEL = re.compile(r"(?!.*\.(onnx|safetensors)$)[A-Za-z0-9][A-Za-z0-9._-]*")
_CAMERA = re.compile(r"(/dev/video|device:(//)?(/dev/video)?)\d+")


def admit(
    url: str, *, media_root: Path | None, exempt: Sequence[str] = (), resolve: Resolve = resolve
) -> str:
    """The address to store for `url`, which `StreamConfig` has checked already. Raises ConfigError with the mend.

    `exempt`: hosts and networks that the owner of this machine opened to it.
    """
    if (file := local_file(url)) is not None:
        return str(_under(file, media_root))
    scheme = url.partition(":")[0].lower()
    if scheme in NETWORK_SCHEMES:
        if "\\" in url:  # parsers disagree about where the host ends
            raise _refused("the address has a backslash in it", "write it with /")
        admitted(urlsplit(url).hostname or "", exempt=exempt, resolve=resolve)
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


def _refused(what: str, mend: str) -> ConfigError:
    return ConfigError(what, where="url", mend=mend)
