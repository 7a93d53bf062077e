"""Named parts of a torch module in 16 bits, with a cast at each of their borders; all else stays in float32.

So precision lives in the graph: what is exported from such a module is strongly typed as it stands. Encoders take 16
bits well; boxes, logits and what is summed over a clip do not, and are left out by whoever names the parts. Batch norm
with frozen statistics is folded into the convolution before it first, in float64: a variance of 1e5 has no float16, and
a weight that is rounded, scaled and rounded again is rounded twice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}


def lowered(module: nn.Module, parts: Sequence[str], precision: str, example: Sequence[Tensor]) -> nn.Module:
    """A copy of `module` whose `parts` (attribute names, dotted for deeper ones) compute in `precision`, f16 or bf16.

    `example` are inputs for one forward pass, which shows the norms that follow a convolution. The copy takes and
    gives the same dtypes as the module. Raises AttributeError for a part that is not there.
    """
    dtype = DTYPES[precision]
    served = copy.deepcopy(module).eval()
    fold_norms(served, parts, example)
    for name in parts:
        for part in _callable(served.get_submodule(name)):
            _narrow(part, dtype)
    return served


def has_part(module: nn.Module, name: str) -> bool:
    """Is there a submodule of this name? Optional ones, such as a mask head, may be absent."""
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True


def fold_norms(module: nn.Module, parts: Iterable[str], example: Sequence[Tensor]) -> int:
    """Fold every frozen batch norm inside `parts` into the convolution that alone feeds it; how many there were."""
    inside = [child for name in parts for child in module.get_submodule(name).modules()]
    pairs = _pairs(module, inside, example)
    for conv, norm in pairs:
        _fold(conv, norm)
    folded = {id(norm) for _, norm in pairs}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in folded:
                setattr(parent, name, nn.Identity())
    return len(pairs)


def _pairs(
    module: nn.Module, inside: Sequence[nn.Module], example: Sequence[Tensor]
) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Convolutions and the norms that read their very output, each used once, as one forward pass shows."""
    made: dict[
        int, tuple[nn.Conv2d, Tensor]
    ] = {}  # the tensor is kept, so that its id is not given away again
    pairs: list[tuple[nn.Conv2d, nn.Module]] = []
    runs: list[int] = []

    def convolved(conv: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        made[id(output)] = conv, output
        runs.append(id(conv))

    def normed(norm: nn.Module, given: tuple[Tensor, ...], _: Any) -> None:
        if (found := made.get(id(given[0]))) is not None:
            pairs.append((found[0], norm))

    hooks = [
        child.register_forward_hook(convolved if isinstance(child, nn.Conv2d) else normed)
        for child in inside
        if isinstance(child, nn.Conv2d) or _is_norm(child)
    ]
    try:
        with torch.inference_mode():
            module(*example)
    finally:
        for hook in hooks:
            hook.remove()
    # A convolution or norm that runs at several levels may not change for one of them.
    norms = [id(norm) for _, norm in pairs]
    return [(c, n) for c, n in pairs if runs.count(id(c)) == 1 and norms.count(id(n)) == 1]


def _is_norm(module: nn.Module) -> bool:
    buffers = dict(module.named_buffers(recurse=False))
    return buffers.get("running_mean") is not None and buffers.get("running_var") is not None


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    """In eval mode such a norm is a scale and a shift for each channel: asked for by its answers to 0 and to 1."""
    exact = copy.deepcopy(norm).double().eval()
    with torch.inference_mode():
        zeros = torch.zeros(1, conv.out_channels, 1, 1, dtype=torch.float64)
        shift = exact(zeros).flatten()
        scale = exact(zeros + 1).flatten() - shift
        weight = conv.weight.double() * scale[:, None, None, None]  # (cout, cin, kh, kw)
        bias = shift if conv.bias is None else shift + scale * conv.bias.double()
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype).clone(), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype).clone(), requires_grad=False)


def _callable(part: nn.Module) -> list[nn.Module]:
    """The modules that are called: a list or dict of modules never is, its members are."""
    if isinstance(part, nn.ModuleList | nn.ModuleDict):
        return [one for child in part.children() for one in _callable(child)]
    return [part]


def _narrow(part: nn.Module, dtype: torch.dtype) -> None:
    part.to(dtype)
    part.register_forward_pre_hook(
        lambda _, args, kwargs: (_cast(args, dtype), _cast(kwargs, dtype)), with_kwargs=True
    )
    part.register_forward_hook(lambda _, args, output: _cast(output, torch.float32))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors to `dtype`, inside tuples, lists and dicts as well; all else as it is."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _cast(one, dtype) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cast(one, dtype) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(_cast(one, dtype) for one in value)
    return value
