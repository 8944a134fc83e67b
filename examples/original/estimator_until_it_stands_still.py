"""One epoch after another until the score stands still; then each point's cluster."""

# was: kmeans = tf.contrib.factorization.KMeansClustering(...)
# was: kmeans = tf.compat.v1.estimator.experimental.KMeans(...)
import numpy as np

from shoal import KMeansClustering

places = np.random.RandomState(4).uniform(0, 1000, [1500, 2])


def input_fn():
    """The places, once."""
    # was: return tf.train.limit_epochs(tf.convert_to_tensor(places, tf.float32), num_epochs=1)
    return places.astype(np.float32)


kmeans = KMeansClustering(num_clusters=5, use_mini_batch=False)
previous, score, epochs = None, None, 0
while previous is None or previous - score > 1e-4 * score:
    kmeans.train(input_fn)
    previous, score = score, kmeans.score(input_fn)
    epochs += 1
    print(f"epoch {epochs}: score {score:.0f}")

cluster_centers = kmeans.cluster_centers()
cluster_indices = list(kmeans.predict_cluster_index(input_fn))
for place, index in list(zip(places, cluster_indices, strict=True))[:3]:
    print(f"{place.round()} is in cluster {index}, around {cluster_centers[index].round()}")

means = [places[np.array(cluster_indices) == number].mean(axis=0) for number in range(5)]
print(f"stood still after {epochs} epochs: {3 < epochs < 200}")
print(f"centers are means: {np.abs(np.array(means) - cluster_centers).max() < 5}")
