"""Read digits: clusters of small images, each named by most of its images, tried on others."""

# was: from tensorflow.contrib.factorization import KMeans
import numpy as np

from shoal import KMeans

SHAPES = """
### .#. ### ### #.# ### ### ### ### ###
#.# .#. ..# ..# #.# #.. #.. ..# #.# #.#
#.# .#. ### ### ### ### ### ..# ### ###
#.# .#. #.. ..# ..# ..# #.# ..# #.# ..#
### .#. ### ### ..# ### ### ..# ### ###
"""
shapes = np.array([[list(part) for part in line.split()] for line in SHAPES.split("\n")[1:-1]])
images = (shapes == "#").transpose(1, 0, 2).reshape(10, 15) * 255.0
rng = np.random.RandomState(6)


def draw(number):
    """So many blurred images, and the digit of each."""
    digits = rng.randint(10, size=number)
    return (images[digits] + rng.normal(size=(number, 15)) * 40).astype(np.float32), digits


train_images, train_digits = draw(3000)
test_images, test_digits = draw(500)

# was: inputs=x, a placeholder
kmeans = KMeans(
    inputs=train_images,
    num_clusters=25,
    initial_clusters="kmeans_plus_plus",
    distance_metric="cosine",
    use_mini_batch=True,
)
all_scores, cluster_idx, scores, is_initialized, init_op, train_op = kmeans.training_graph()

init_op()  # was: sess.run([init_vars, init_op], feed_dict={x: train_images})
for i in range(1, 31):
    # was: _, d, idx = sess.run([train_op, tf.reduce_mean(scores), cluster_idx[0]], ...)
    train_op()
    if i % 10 == 0:
        print(f"step {i}, mean distance: {np.mean(scores()):.4f}")

idx = cluster_idx()
votes = np.zeros((25, 10))
for cluster, digit in zip(idx, train_digits, strict=True):
    votes[cluster, digit] += 1
digit_of = votes.argmax(axis=1)  # was: tf.nn.embedding_lookup(labels_map, cluster_idx)

predicted = digit_of[cluster_idx(test_images)]
print(f"accuracy: {np.mean(predicted == test_digits):.3f}")
