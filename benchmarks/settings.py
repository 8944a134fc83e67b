"""What the command line chose, as the benchmarks see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.timing import Effort


@dataclass(frozen=True)
class Settings:
    """Threads for every library, how long to measure, and the share of the grid."""

    threads: int
    quick: bool = False
    effort: Effort = field(default_factory=Effort)
    kinds: tuple[str, ...] = ()  # of the grid's data; empty: all
    dims: tuple[int, ...] = ()
    ks: tuple[int, ...] = ()
    grid_seconds: float = 0.05  # what a run of the grid shall take

    def quick_rows(self, wanted: int = 20_000) -> int | None:
        """Return how many rows to keep of a data set: all, or few for a quick look."""
        return wanted if self.quick else None
