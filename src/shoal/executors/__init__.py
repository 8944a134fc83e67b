"""Where the rows live: this process, or others.

``RunConfig(executor=...)`` takes one of these: ``LocalExecutor``, which is what None stands for;
``shoal.executors.ray.RayExecutor``, the workers of a Ray cluster (extra ``shoal[ray]``);
``PickledExecutor``, a double for tests, which counts what would travel; or any object with the five
methods of ``shoal.executors.base.Executor``.
"""

from shoal.executors.local import LocalExecutor as LocalExecutor
from shoal.executors.pickled import PickledExecutor as PickledExecutor
