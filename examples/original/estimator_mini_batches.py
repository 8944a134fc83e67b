"""Mini-batches of a dict of features; a hook; evaluate and predict by the names of constants."""

# was: from tensorflow.contrib.factorization import KMeansClustering
import tempfile

import numpy as np

from shoal import KMeansClustering, RunConfig

rng = np.random.RandomState(2)
kind = rng.randint(3, size=5000)
flowers = {
    "length": (np.array([1.5, 4.3, 5.6])[kind] + 0.2 * rng.normal(size=5000)).astype(np.float32),
    "width": (np.array([0.2, 1.3, 2.0])[kind] + 0.1 * rng.normal(size=5000)).astype(np.float32),
}


def batches():
    """Once through the flowers, 250 at a time."""
    # was: tf.estimator.inputs.numpy_input_fn(flowers, batch_size=250, num_epochs=1, shuffle=True)
    order = np.random.RandomState(0).permutation(5000)
    for start in range(0, 5000, 250):
        these = order[start : start + 250]
        yield {name: values[these] for name, values in flowers.items()}


class CountSteps:  # was: CountSteps(tf.train.SessionRunHook)
    """Counts the steps it sees."""

    steps = 0

    def after_step(self, context):  # was: after_run(self, run_context, run_values)
        """One more."""
        self.steps += 1


kmeans = KMeansClustering(
    num_clusters=3,
    model_dir=tempfile.mkdtemp(),
    initial_clusters=KMeansClustering.KMEANS_PLUS_PLUS_INIT,
    random_seed=8,
    use_mini_batch=True,
    config=RunConfig(keep_checkpoint_max=2),
)
counter = CountSteps()
kmeans.train(input_fn=batches, hooks=[counter])
kmeans.train(input_fn=batches, steps=10, hooks=[counter])
kmeans.train(input_fn=batches, max_steps=30, hooks=[counter])  # there already
print(f"steps: {counter.steps}")

results = kmeans.evaluate(input_fn=lambda: flowers, steps=1)
print(f"score: {results[KMeansClustering.SCORE]:.0f} at step {results['global_step']}")

found, farthest = [], 0.0
for prediction in kmeans.predict(input_fn=lambda: flowers):
    found.append(prediction[KMeansClustering.CLUSTER_INDEX])
    farthest = max(farthest, prediction[KMeansClustering.ALL_DISTANCES].max())
print(f"farthest: {farthest:.1f}")
sizes = [len(set(np.array(found)[kind == number])) for number in range(3)]
print(f"one cluster per kind: {sizes == [1, 1, 1]}")
name = KMeansClustering.CLUSTER_CENTERS_VAR_NAME
print(f"variable: {np.array_equal(kmeans.get_variable_value(name), kmeans.cluster_centers())}")
