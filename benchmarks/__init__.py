"""Benchmarks of shoal against other libraries: ``python -m benchmarks.run``."""

import os
from pathlib import Path

# OpenBLAS, which scikit-learn and faiss multiply with, does not know every processor with AVX-512
# and then takes its AVX2 kernels. The peers shall run at their best, unless told otherwise.
_CPU = Path("/proc/cpuinfo")
if _CPU.exists() and "avx512vl" in _CPU.read_text():
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
