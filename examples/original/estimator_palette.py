"""Draw an image with eight colours: the centers are the palette, the indices the pixels."""

# was: from tensorflow.contrib.factorization import KMeansClustering
import numpy as np

from shoal import KMeansClustering

HEIGHT, WIDTH, COLOURS = 60, 80, 8

down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
sky = np.stack([down * 2.0, down * 3.0, 255 - down], axis=2)
sun = ((down - 20) ** 2 + (across - 55) ** 2 < 120)[..., None]
hills = (down > 40 + 6 * np.sin(across / 9))[..., None]
image = np.where(hills, [40.0, 120.0, 50.0], np.where(sun, [250.0, 220.0, 90.0], sky))
pixels = image.reshape(-1, 3).astype(np.float32)


def input_fn():
    """One row per pixel."""
    # was: return tf.train.limit_epochs(tf.constant(pixels), num_epochs=1)
    return pixels


kmeans = KMeansClustering(
    COLOURS, initial_clusters=pixels[:: len(pixels) // COLOURS][:COLOURS], use_mini_batch=False
)
kmeans.train(input_fn, steps=30)

palette = kmeans.cluster_centers()
indices = np.array(list(kmeans.predict_cluster_index(input_fn)))
drawn = palette[indices].reshape(image.shape)
error = np.abs(drawn - image).mean()
print(f"colours: {[tuple(colour) for colour in palette.round().astype(int).tolist()]}")
print(f"mean error of a channel: {error:.1f} of 255")

squares = np.array(list(kmeans.transform(input_fn)))  # to each colour of the palette
print(f"nearest colours: {np.array_equal(squares.argmin(axis=1), indices)}")
