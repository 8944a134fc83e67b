"""Centers that come from elsewhere, as parameters of a model."""

from __future__ import annotations

from typing import Any, NamedTuple

from shoal.types import Array


class Given(NamedTuple):
    """What other programs know of a model."""

    centers: Array  # [k, d]
    metric: str
    columns: tuple[Any, ...] | None

    def parameters(self) -> dict[str, Any]:
        """``num_clusters``, ``initial_clusters`` and ``distance_metric``."""
        initial: Any = self.centers
        if self.columns:
            initial = dict(zip(self.columns, self.centers.T, strict=True))
        return {
            "num_clusters": None,
            "initial_clusters": initial,
            "distance_metric": self.metric,
        }
