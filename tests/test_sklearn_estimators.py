"""scikit-learn's checks of estimators, on ours: nothing is skipped that its own classes do not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sklearn.cluster
from sklearn.utils._test_common.instance_generator import _get_expected_failed_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

import shoal.sklearn

CLASSES = ["KMeans", "MiniBatchKMeans", "BisectingKMeans"]

#: What scikit-learn's own classes fail and ours pass: weights are repeated rows, to the label.
PASSED_HERE = {"KMeans", "MiniBatchKMeans"}

ARRAY_API = "check_array_api_input"


def checks() -> Iterator[Any]:
    for name in CLASSES:
        estimator = getattr(shoal.sklearn, name)(n_clusters=3)
        theirs = getattr(sklearn.cluster, name)(n_clusters=3)
        failing = {} if name in PASSED_HERE else _get_expected_failed_checks(theirs)
        for one, check in estimator_checks_generator(estimator, mark=None):
            label = getattr(check, "func", check).__name__
            why = failing.get(label)
            marks = [] if why is None else [pytest.mark.xfail(reason=why, strict=True)]
            if label != ARRAY_API:
                yield pytest.param(one, check, id=f"{name}-{label}", marks=marks)


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_an_estimator_passes_scikit_learns_check(estimator: Any, check: Any) -> None:
    check(estimator)


def test_estimators_pass_the_check_that_needs_scipys_array_api() -> None:
    program = (
        "import shoal.sklearn\n"
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        f"for name in {CLASSES}:\n"
        "    estimator = getattr(shoal.sklearn, name)(n_clusters=3)\n"
        "    for one, check in estimator_checks_generator(estimator, mark=None):\n"
        f"        if getattr(check, 'func', check).__name__ == {ARRAY_API!r}:\n"
        "            check(one)\n"
        "            print(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == CLASSES
