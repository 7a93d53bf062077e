"""A GPU that is none: tensors that say they live elsewhere, compute on the CPU, and refuse what a GPU would refuse.

They say `meta`, for a torch without CUDA cannot differentiate what says `cuda`; but unlike meta's own they have real
numbers, so matching, masks and losses run as they do. An operation that mixes such a tensor with one of the CPU fails
as on a GPU, with the two exceptions that CUDA has too: a CPU number without dimensions, and CPU indices into one of
the GPU.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("meta")
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU; `numbers` is the CPU's tensor that holds its values."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> OnGpu:
        made: OnGpu = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=GPU,
            requires_grad=numbers.requires_grad,
        )
        made.numbers = numbers
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.numbers})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


class PretendGpu(TorchDispatchMode):
    """Catches what makes tensors, so that a wish for its device gives one of this GPU; counts its operations."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operations += any(isinstance(x, OnGpu) for x in tree_flatten((args, kwargs or {}))[0])
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = tree_flatten((args, kwargs))[0]
    there = any(isinstance(x, OnGpu) for x in given)
    wish = kwargs.get("device")
    if there and func not in COPIES:
        _refuse_mixed(func, args, kwargs)
    plain_args, plain_kwargs = tree_map(_numbers, args), tree_map(_numbers, kwargs)
    if wish is not None:
        plain_kwargs["device"] = "cpu"
    out = func(*plain_args, **plain_kwargs)
    stays = there if wish is None else torch.device(wish) == GPU
    if func is torch.ops.aten.copy_.default:
        stays = isinstance(args[0], OnGpu)
    if not stays:
        return out
    known = {id(x.numbers): x for x in given if isinstance(x, OnGpu)}  # in place: the same tensor comes back

    def result(x: Any) -> Any:
        if not _is_plain(x):
            return x
        found = known.get(id(x))
        return OnGpu(x) if found is None else found

    return tree_map(result, out)


def _refuse_mixed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    looked = (args, kwargs)
    if func._schema.name in INDEXED and isinstance(args[0], OnGpu):
        looked = ((args[0], *args[2:]), kwargs)
    for x in tree_flatten(looked)[0]:
        if _is_plain(x) and x.dim() > 0:
            raise RuntimeError(f"{func}: a tensor {tuple(x.shape)} of the CPU among those of the GPU")


def _is_plain(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and not isinstance(x, OnGpu)


def _numbers(x: Any) -> Any:
    return x.numbers if isinstance(x, OnGpu) else x


@contextlib.contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu]:
    """Inside there is such a GPU, which runs the fused optimiser and takes pinned memory as CUDA does."""
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
    from_data = torch.tensor

    def tensor(data: Any, *, device: Any = None, **wishes: Any) -> torch.Tensor:
        """`torch.tensor`, which for the device `meta` would not look at its data."""
        return from_data(data, device="cpu", **wishes).to(device or torch.zeros(0).device)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # such tensors have no place in it
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: self)
    torch.__future__.set_overwrite_module_params_on_conversion(
        True
    )  # a parameter's type changes with its device
    try:
        with PretendGpu() as mode:
            yield mode
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
