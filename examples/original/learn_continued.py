"""Train until the loss stands still, watch it, and go on from model_dir in another estimator."""

# was: from tensorflow.contrib.learn import KMeansClustering, RunConfig
# was: from tensorflow.python.training.session_run_hook import SessionRunHook
import tempfile

import numpy as np

from shoal import KMeansClustering, RunConfig

features = np.random.RandomState(1).normal(size=(3000, 5)).astype(np.float32)
features[:1000] += 6
model_dir = tempfile.mkdtemp()


class LossLogger:  # was: LossLogger(SessionRunHook)
    """Keeps the loss of each step."""

    def begin(self, context):  # was: begin(self)
        """Nothing seen yet."""
        self.losses = []

    def after_step(self, context):  # was: after_run(self, run_context, run_values)
        """One more."""
        self.losses.append(context.loss)


def estimator():
    """Every process makes the same."""
    return KMeansClustering(
        num_clusters=6,
        model_dir=model_dir,
        use_mini_batch=True,
        mini_batch_steps_per_iteration=4,
        relative_tolerance=1e-4,
        config=RunConfig(save_checkpoints_steps=10, save_checkpoints_secs=None),
    )


logger = LossLogger()
estimator().fit(x=features, batch_size=500, max_steps=200, monitors=[logger])
print(f"losses: {logger.losses[0]:.0f} ... {logger.losses[-1]:.0f}")

other = estimator()
step = int(other.get_variable_value("global_step"))
print(f"variables: {[n for n in other.get_variable_names() if n.startswith('cluster')]}")
results = other.evaluate(input_fn=lambda: (features, None), steps=1, name="all")
print(f"step {results['global_step']}, scores {results[KMeansClustering.SCORES]:.0f}")
distances = other.transform(input_fn=lambda: (features, None))
print(f"distances: {distances.shape[0]} x {distances.shape[1]}")

same = results["global_step"] == step == len(logger.losses)
close = np.isclose(distances.min(axis=1).sum(), results[KMeansClustering.SCORES])
print(f"went on from the same step, with the same score: {bool(same and close)}")
