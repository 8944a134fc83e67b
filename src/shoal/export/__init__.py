"""Models in other forms: files for people, other programs and other libraries.

Each format is a module, whose functions take a state, its parameters and the names of the columns.
The functions here take a model of any face: ``shoal.KMeansClustering``, ``shoal.KMeans``, or one of
``shoal.sklearn``.
"""

from shoal.export.models import (
    to_faiss,
    to_faiss_index,
    to_npy,
    to_onnx,
    to_savedmodel,
    to_sklearn,
)

__all__ = ["to_faiss", "to_faiss_index", "to_npy", "to_onnx", "to_savedmodel", "to_sklearn"]
