"""An address to a folder on this machine: itself, or the hub's cache, filled once where there is a network."""

from __future__ import annotations

from pathlib import Path

from engines.hub.address import Address
from streamer.errors import EngineError

WEIGHTS = ("*.safetensors", "*.bin")
_SETTINGS = ("config.json", "preprocessor_config.json", "*.safetensors.index.json")


def resolve(address: Address) -> Path:
    """The folder with `config.json` and weights in it. Raises EngineError, one line that says what to do."""
    folder = _folder(address) if address.folder else _cached(address)
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise EngineError(
            "the folder holds no weights",
            where=str(folder),
            mend="it must hold config.json, preprocessor_config.json and *.safetensors, as save_pretrained writes",
        )
    return folder


def _folder(address: Address) -> Path:
    assert address.folder is not None
    folder = address.folder.absolute()
    if not (folder / "config.json").is_file():
        what = "the folder holds no config.json" if folder.is_dir() else "there is no such folder"
        raise EngineError(
            what, where=str(folder), mend="give a folder that save_pretrained wrote, or hf://owner/name"
        )
    return folder


def _cached(address: Address) -> Path:
    """The hub's snapshot, downloaded if it is not there yet: settings and safetensors, else the older .bin weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    revision = address.revision or None
    try:
        found = Path(snapshot_download(address.repository, revision=revision, local_files_only=True))
        if any(path for pattern in WEIGHTS for path in found.glob(pattern)):
            return found
    except (OSError, ValueError):
        pass
    try:
        for weights in WEIGHTS:
            found = Path(
                snapshot_download(
                    address.repository,
                    revision=revision,
                    allow_patterns=[*_SETTINGS, weights],
                    etag_timeout=5,
                )
            )
            if any(found.glob(weights)):
                return found
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        kind = "revision" if isinstance(error, RevisionNotFoundError) else "model"
        raise EngineError(
            f"the hub has no such {kind}, or not for this machine's token",
            where=address.text,
            mend="look its name up on huggingface.co; for a closed one set HF_TOKEN",
        ) from None
    except (HfHubHTTPError, OSError, ValueError):
        at = f" --revision {address.revision}" if address.revision else ""
        raise EngineError(
            "the model is not in this machine's cache and the hub cannot be reached",
            where=address.text,
            mend=f"run `hf download {address.repository}{at}` where there is a network and copy the cache here "
            "(HF_HOME says where it is), or give its folder as hf:///path/to/folder",
        ) from None
    return found
