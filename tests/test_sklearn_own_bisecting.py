"""scikit-learn's tests of BisectingKMeans, on ours: `own_tests` says which."""

import numpy as np
import pytest
from sklearn_own import own_tests


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param


globals().update(own_tests("sklearn.cluster.tests.test_bisect_k_means"))
