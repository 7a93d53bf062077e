"""From weights to an engine that may be trusted: export, compile, compare with the reference, keep by digest.

recipe.py   what is to be built, and the digest that names it      (imports no torch)
cache.py    find it, or have it built by one child process         (imports no torch)
worker.py   the child: export, compile, gate                       (imports torch, onnx and the backend)
export.py   module → ONNX                inputs.py   pictures and tracks to compare on
parity.py   does the engine answer as its reference does?
"""

from engines.build.cache import ensure_built, load
from engines.build.recipe import Family, Recipe

__all__ = ["Family", "Recipe", "ensure_built", "load"]
