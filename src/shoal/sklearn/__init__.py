"""k-means by scikit-learn's names, on shoal's engine: change one import.

>>> from shoal.sklearn import KMeans
>>> KMeans(n_clusters=2, random_state=0).fit_predict([[0.0], [1.0], [10.0], [11.0]]).tolist()
[1, 1, 0, 0]
"""

from shoal.errors import MissingExtraError

try:
    import sklearn as _sklearn
except ImportError:
    raise MissingExtraError("shoal.sklearn", "scikit-learn", "sklearn") from None

from shoal.sklearn.bisecting import BisectingKMeans
from shoal.sklearn.functions import k_means, kmeans_plusplus
from shoal.sklearn.kmeans import KMeans
from shoal.sklearn.minibatch import MiniBatchKMeans

del _sklearn

__all__ = ["BisectingKMeans", "KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"]
