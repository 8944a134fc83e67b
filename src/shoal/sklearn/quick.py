"""What scikit-learn does at every call, for plain arguments: it takes longer than small rows do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from shoal.sklearn.names import METRICS, SEEDINGS

#: Seeds drawn from a RandomState are below.
LARGEST_SEED = 2**31 - 1


def _natural(value: Any) -> bool:
    return type(value) is int and value > 0


def _switch(value: Any) -> bool:
    return type(value) is bool or (type(value) is int and value >= 0)


def _amount(value: Any) -> bool:
    return type(value) is float and 0 <= value < np.inf


#: Values that every rule of scikit-learn's allows; of others, and other parameters, it decides.
PLAIN: dict[str, Callable[[Any], bool]] = {
    "n_clusters": _natural,
    "init": lambda value: type(value) is str and value in SEEDINGS,
    "n_init": lambda value: _natural(value) or (type(value) is str and value == "auto"),
    "max_iter": _natural,
    "tol": _amount,
    "verbose": _switch,
    "random_state": lambda value: value is None or (type(value) is int and 0 <= value < 2**32),
    "copy_x": lambda value: type(value) is bool,
    "algorithm": lambda value: type(value) is str and value in ("lloyd", "elkan"),
    "metric": lambda value: type(value) is str and value in METRICS,
    "start_on_sample": lambda value: type(value) is bool,
    "n_threads": lambda value: value is None or _natural(value),
    "executor": lambda value: value is None,
    "batch_size": _natural,
    "compute_labels": lambda value: type(value) is bool,
    "max_no_improvement": lambda value: value is None or _natural(value),
    "init_size": lambda value: value is None or _natural(value),
    "reassignment_ratio": _amount,
}


def are_plain(parameters: dict[str, Any]) -> bool:
    """Whether scikit-learn would find nothing to say about any of the parameters."""
    return all(name in PLAIN and PLAIN[name](value) for name, value in parameters.items())


class _Unseeded(np.random.bit_generator.ISeedSequence):
    """Makes a generator that is seeded afterwards: most of the time goes into its first state."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        """Anything."""
        return np.ones(n_words, dtype)


_UNSEEDED: Any = _Unseeded()


def random_state_of(seed: Any) -> Any:
    """``check_random_state(seed)``; of a whole number in a third of the time."""
    if type(seed) is not int or not 0 <= seed < 2**32:
        return check_random_state(seed)
    random = np.random.RandomState(np.random.MT19937(_UNSEEDED))
    random.seed(seed)
    return random
