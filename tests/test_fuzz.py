"""Random cases at every door: a right answer or an error of shoal; ``make fuzz`` runs more."""

from __future__ import annotations

import collections
import logging
from pathlib import Path

import pytest
from fuzz import check, doors

SEED = 20261
CASES = 225  # of each of nine doors


@pytest.mark.slow
@pytest.mark.parametrize("name", list(doors(Path())))
def test_every_outcome_is_an_answer_or_an_error_of_shoal(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    counts: collections.Counter[str] = collections.Counter()

    def note(what: str) -> None:
        counts[what] += 1

    print(f"seed {SEED}")
    check(doors(tmp_path)[name], CASES, SEED, note)()
    print(counts)
    assert sum(counts.values()) >= CASES
    errors = {what for what in counts if what.endswith(("Error", "2"))}
    assert set(counts) - errors, "no case was answered"
    # A directory goes on from the checkpoint before; hardly ever is none left.
    assert errors or name == "directories", "no case was refused"
