"""Find the blobs among points in the plane: fit, clusters, predict_cluster_idx, score."""

# was: from tensorflow.contrib.learn import KMeansClustering
import numpy as np

from shoal import KMeansClustering

rng = np.random.RandomState(7)
middles = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0], [12.0, 12.0]])
which = rng.randint(4, size=2000)
points = (middles[which] + rng.normal(size=(2000, 2))).astype(np.float32)


def input_fn():
    """All points, and no labels."""
    # was: return tf.constant(points), None
    return points, None


kmeans = KMeansClustering(
    num_clusters=4,
    initial_clusters=KMeansClustering.KMEANS_PLUS_PLUS_INIT,
    distance_metric=KMeansClustering.SQUARED_EUCLIDEAN_DISTANCE,
    use_mini_batch=False,
    random_seed=3,
)
kmeans.fit(input_fn=input_fn, steps=10)

centers = kmeans.clusters()
found = np.array(list(kmeans.predict_cluster_idx(input_fn=input_fn)))
for number, center in enumerate(centers):
    print(f"cluster {number} at {center.round(1)}: {(found == number).sum()} points")
print(f"score per point: {kmeans.score(input_fn=input_fn, steps=1) / len(points):.2f}")

nearest = np.linalg.norm(centers[:, None] - middles, axis=2).argmin(axis=1)
print(f"in the right blob: {np.mean(nearest[found] == which):.3f}")
