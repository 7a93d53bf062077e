"""What is built of a public model: which gate compares it, and what of its address the loader must know."""

from __future__ import annotations

from urllib.parse import urlencode

from engines.build.recipe import Family
from engines.hub.address import Address
from engines.hub.reading import SEMANTIC, Reading

BY_VALUE, BY_ROWS = "engines.build.closeness", "engines.build.rows"
_LOADER = "engines.hub.module:load_hub"


def family_of(reading: Reading, address: Address) -> Family:
    """The family of this one model: by task, with the address's options in the loader's query."""
    query = urlencode(sorted(address.options.items()))
    return Family(
        name=f"hub-{reading.task}",
        format="transformers",
        loader=f"{_LOADER}?{query}" if query else _LOADER,
        task=reading.task,
        gate=BY_VALUE if reading.task == SEMANTIC or reading.fixed_queries else BY_ROWS,
        distributions=("transformers",),
    )
