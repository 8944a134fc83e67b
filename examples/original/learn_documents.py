"""Group documents by direction: cosine distance, predict with several outputs."""

# was: from tensorflow.contrib.learn import KMeansClustering
import numpy as np

from shoal import KMeansClustering

WORDS = ["goal", "team", "match", "vote", "law", "senate", "star", "planet", "orbit"]
TOPICS = {"sport": [0, 1, 2], "politics": [3, 4, 5], "space": [6, 7, 8]}

rng = np.random.RandomState(0)
topics, counts = [], []
for number in range(600):
    topic = sorted(TOPICS)[number % 3]
    likely = np.full(len(WORDS), 0.02)
    likely[TOPICS[topic]] = 0.28
    counts.append(rng.multinomial(rng.randint(20, 400), likely / likely.sum()))
    topics.append(topic)
counts = np.array(counts, np.float32)

kmeans = KMeansClustering(
    num_clusters=3,
    distance_metric=KMeansClustering.COSINE_DISTANCE,
    initial_clusters=KMeansClustering.KMEANS_PLUS_PLUS_INIT,
    use_mini_batch=False,
)
# was: {"counts": tf.constant(counts)}, a dict whose tensors were concatenated
kmeans.fit(input_fn=lambda: ({"counts": counts}, None), steps=20)

for center in kmeans.clusters():
    print(", ".join(WORDS[i] for i in np.argsort(-center)[:3]))

rows = kmeans.predict(
    input_fn=lambda: ({"counts": counts}, None),
    outputs=[KMeansClustering.CLUSTER_IDX, KMeansClustering.ALL_SCORES],
)
found = {topic: set() for topic in TOPICS}
widest = 0.0
for topic, row in zip(topics, rows, strict=True):
    found[topic].add(int(row["cluster_idx"]))
    widest = max(widest, float(row["all_scores"].min()))
print(f"one cluster per topic: {sorted(map(len, found.values())) == [1, 1, 1]}")
print(f"within: {widest:.2f}")
