"""Monitors: what may watch a run, and stop it. See ``shoal.hooks.base`` for the protocol."""

from shoal.hooks.base import PROTOCOL, Context, Monitors, check_monitors
from shoal.hooks.log_lines import LogProgress
from shoal.hooks.progress import ProgressBar, progress_monitor, rows_shown
from shoal.hooks.stopping import EarlyStopping
from shoal.hooks.summaries import History, SummarySaver, record_of, summary_monitors

__all__ = [
    "PROTOCOL",
    "Context",
    "EarlyStopping",
    "History",
    "LogProgress",
    "Monitors",
    "ProgressBar",
    "SummarySaver",
    "check_monitors",
    "progress_monitor",
    "record_of",
    "rows_shown",
    "summary_monitors",
]
