"""Tensors of other libraries, as arrays that share their memory, and torch's data loaders.

No library is imported here: an object can only be one of theirs where they are loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from shoal.errors import BadInputError, MissingExtraError

#: Memory that the CPU can read, among DLPack's kinds of devices: its own, and pinned memory.
HOST_DEVICES = (1, 3, 11)


def to_array(data: Any, name: str) -> Any:
    """Return ``data``, or where it is a tensor an array of the same memory.

    Parameters
    ----------
    data
        Anything. Tensors are those of torch and JAX, and objects with ``__dlpack__``.
    name
        What error messages call it.

    Raises
    ------
    BadInputError
        If it is a tensor whose memory the CPU cannot read, or that NumPy has no words for.
    MissingExtraError
        If it is a torch tensor of bfloat16 and ``ml_dtypes`` is not installed.
    """
    if isinstance(data, np.ma.MaskedArray) and (masked := np.ma.getmaskarray(data)).any():
        at = ", ".join(str(int(i)) for i in np.argwhere(masked)[0])
        raise BadInputError(
            f"masked values in {name}, the first at [{at}]: give them values with .filled(...), or "
            "leave them out"
        )
    if isinstance(data, np.ndarray):
        return data
    if hasattr(getattr(data, "dtype", None), "na_value") and hasattr(data, "isna"):  # of pandas
        _refuse_nulls(data, name)
    if _is_a(data, "torch", "Tensor"):
        return _from_torch(data, name)
    if _is_a(data, "jax", "Array"):
        return _from_jax(data, name)
    if hasattr(data, "__dlpack__"):
        return _from_dlpack(data, name)
    return data


def _refuse_nulls(data: Any, name: str) -> None:
    nulls = np.asarray(data.isna())
    if nulls.any() and data.dtype.kind in "fiub":
        raise BadInputError(
            f"missing values (null) in {name}, the first at [{int(nulls.argmax())}]: give them "
            "values with .fillna(...), or leave them out"
        )


def is_ray_data(data: object) -> bool:
    """Whether this is a data set of Ray Data."""
    return _is_a(data, "ray.data", "Dataset")


def _is_a(data: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(data, kind)


def _from_torch(tensor: Any, name: str) -> Any:
    if tensor.device.type != "cpu":
        raise BadInputError(
            f"{name} is a torch tensor on {tensor.device}; rows are read by the CPU: use .cpu()"
        )
    if str(tensor.layout) != "torch.strided":
        raise BadInputError(
            f"{name} is a torch tensor of layout {tensor.layout}; rows must be dense: use "
            ".to_dense() if that fits"
        )
    tensor = tensor.detach()
    try:
        if str(tensor.dtype) == "torch.bfloat16":
            bits = tensor.view(sys.modules["torch"].int16).numpy()
            return bits.view(_bfloat16(f"{name}, a torch tensor of bfloat16,"))
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise BadInputError(
            f"{name} is a torch tensor of {tensor.dtype} that NumPy cannot read: {error}. Use "
            ".float(), or .contiguous(), which copy it"
        ) from None


def _bfloat16(what: str) -> Any:
    try:
        import ml_dtypes
    except ImportError:
        raise MissingExtraError(what, "ml_dtypes", "bfloat16") from None
    return np.dtype(ml_dtypes.bfloat16)


def _from_jax(array: Any, name: str) -> Any:
    try:
        devices = list(array.devices())
    except Exception as error:  # a tracer, inside of jax.jit
        raise BadInputError(f"{name} is a JAX array without values: {error}") from None
    if len(devices) != 1 or devices[0].platform != "cpu":
        raise BadInputError(
            f"{name} is a JAX array on {', '.join(map(str, devices))}; rows are read by the CPU: "
            "use jax.device_get(...)"
        )
    return np.asarray(array)  # a view


def _from_dlpack(tensor: Any, name: str) -> Any:
    kind = type(tensor).__name__
    if hasattr(tensor, "__dlpack_device__"):
        device = int(tensor.__dlpack_device__()[0])
        if device not in HOST_DEVICES:
            raise BadInputError(
                f"{name} is a {kind} on a device (DLPack's kind {device}); rows are read by the "
                "CPU: copy it there first, with .cpu() or what its library has for that"
            )
    if hasattr(tensor, "__array__"):
        return tensor
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{name} is a {kind} that NumPy cannot read through DLPack: {error}"
        ) from None


def unwrapped(data: Any) -> Any:
    """Return ``data``, or the batches of rows of a torch ``DataLoader``."""
    loader = getattr(sys.modules.get("torch.utils.data"), "DataLoader", None)
    return LoaderBatches(data) if loader is not None and isinstance(data, loader) else data


class LoaderBatches:
    """What a torch ``DataLoader`` gives, pass after pass: its lists stand for tuples."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        return map(_as_tuple, self._loader)


def _as_tuple(batch: Any) -> Any:
    if isinstance(batch, list) and not batch:
        raise BadInputError("the DataLoader gives empty batches: the first item must be rows")
    return tuple(batch) if isinstance(batch, list) else batch
