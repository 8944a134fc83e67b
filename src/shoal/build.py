"""How this copy of shoal was built, and what it runs on."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal import _core
from shoal.machine import available_threads


def build_info() -> dict[str, Any]:
    """SIMD targets, the one in use (``SHOAL_SIMD`` forces another), threads, NumPy's version.

    Examples
    --------
    >>> import shoal
    >>> shoal.build_info()["simd_target"] in shoal.build_info()["simd_targets"]
    True
    """
    return {
        "simd_targets": _core.simd_targets(),
        "simd_target": _core.simd_target(),
        "threads": available_threads(),
        "numpy": np.__version__,
    }
