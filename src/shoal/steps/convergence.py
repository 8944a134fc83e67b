"""When to stop."""

from __future__ import annotations

from dataclasses import dataclass


def close_enough(loss: float, previous: float | None, tolerance: float) -> bool:
    """|L - P| / (1 + |P|) < tolerance, given a previous loss."""
    if previous is None:
        return False
    return abs(loss - previous) / (1 + abs(previous)) < tolerance


@dataclass(frozen=True)
class Smoothed:
    """Exponentially weighted mean of the loss per row, and how long it has not improved.

    The weight of a batch of b rows among n is min(1, 2 b / (n + 1)): the memory is about half a
    pass, as in scikit-learn's MiniBatchKMeans.
    """

    mean: float | None = None
    lowest: float = float("inf")
    without_improvement: int = 0

    def update(self, loss_per_row: float, batch_rows: int, rows: int) -> Smoothed:
        """Return the value after one more batch."""
        alpha = min(1.0, 2 * batch_rows / (rows + 1))
        mean = loss_per_row if self.mean is None else self.mean * (1 - alpha) + loss_per_row * alpha
        if mean < self.lowest:
            return Smoothed(mean, mean, 0)
        return Smoothed(mean, self.lowest, self.without_improvement + 1)
