"""The training program, fed with batches; then which cluster new rows are in."""

# was: from tensorflow.contrib.factorization import KMeans
import numpy as np

from shoal import KMeans

rng = np.random.RandomState(5)
middles = rng.normal(size=(6, 10)) * 8


def draw(number):
    """So many rows, and which middle each is near."""
    which = rng.randint(6, size=number)
    return (middles[which] + rng.normal(size=(number, 10))).astype(np.float32), which


def batches():
    """A batch for each run of an op: what went into feed_dict."""
    while True:
        yield draw(200)[0]


# was: x = tf.placeholder(tf.float32, [None, 10]), fed by sess.run(op, feed_dict={x: batch})
kmeans = KMeans(
    inputs=batches(),
    num_clusters=6,
    initial_clusters="kmeans_plus_plus",
    use_mini_batch=True,
    mini_batch_steps_per_iteration=5,
    random_seed=1,
)
(all_scores, cluster_idx, scores, initialized, init_op, training_op) = kmeans.training_graph()

while not initialized():  # was: sess.run(initialized)
    init_op()  # was: sess.run(init_op, feed_dict={x: batch})
for step in range(50):
    training_op()  # was: sess.run(training_op, feed_dict={x: batch})
    if step % 10 == 9:
        # was: sess.run(tf.reduce_mean(scores), feed_dict={x: batch})
        print(f"step {step + 1}: mean distance {np.mean(scores()):.2f}")

rows, which = draw(1000)
found = cluster_idx(rows)  # was: sess.run(cluster_idx, feed_dict={x: rows})[0]
print(f"distances of new rows: {all_scores(rows).shape}")
print(f"mean distance: {np.mean(scores(rows)):.1f}")
pairs = {(int(a), int(b)) for a, b in zip(found, which, strict=True)}
print(f"one cluster per middle: {len(pairs) == 6}")
