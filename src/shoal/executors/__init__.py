"""Where the rows live: this process, or others."""

from shoal.executors.local import LocalExecutor as LocalExecutor
from shoal.executors.pickled import PickledExecutor as PickledExecutor
