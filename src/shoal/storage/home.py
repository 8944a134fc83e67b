"""Where a model lives: its state, the names of its columns, and the directory that keeps both."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from shoal.errors import BadInputError, CheckpointError, not_fitted
from shoal.hooks.saving import CheckpointSaver
from shoal.opening import known_names, learned_names, names_asked
from shoal.settings import Settings
from shoal.sources.columns import Columns, listed
from shoal.sources.open import Source
from shoal.state import State
from shoal.steps.seeding import from_centers
from shoal.storage.checkpoint import Checkpoint
from shoal.storage.model_dir import ModelDir, read_file

logger = logging.getLogger("shoal")


class Home:
    """State, names of columns, and directory of one model.

    Attributes
    ----------
    settings
        What the model is made with.
    state
        The state as it is in this process; ``current`` is what counts.
    learned
        Names of the columns of the first data that had any; () if it had none.
    directory
        Where the model is kept, if it is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: State | None = None
        self.learned: tuple[Any, ...] | None = None
        self.directory: ModelDir | None = None
        self._looking = Lock()  # of threads that look into the directory, and begin to write there
        self._writes = False
        self._attach(settings)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_looking"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_looking": Lock(), "_writes": False})

    def settle(self, settings: Settings) -> None:
        """Take over other settings; nothing changes where the state does not fit them."""
        now, then = settings.parameters, self.settings.parameters
        if self.state is not None and (
            now.num_clusters != then.num_clusters or now.distance_metric != then.distance_metric
        ):
            raise BadInputError(
                "num_clusters and distance_metric cannot change once there are centers: "
                "make a new KMeansClustering"
            )
        known = self.learned if self.state is not None else None
        features = settings.named.features
        if known and features not in (None, known):
            raise BadInputError(
                f"feature_columns is {listed(features or ())}, and the model was trained on "
                f"{listed(known)}: they must agree. Make a new KMeansClustering"
            )
        self._attach(settings)
        if self.state is None:
            self.learned = None  # what was learned belongs to other centers
        self.settings = settings

    # --- state -----------------------------------------------------------------------------

    def current(self) -> State | None:
        """The state; where another process has trained on in ``model_dir``, that from there.

        A state that could not be saved stays: what is in memory is not thrown away.
        """
        if self.directory is not None:
            with self._looking:  # while a thread of ours writes, no one else does
                if not self._writes and self.directory.holds(self.state):
                    self._take(self.directory.news(self._check_found))
        return self.state

    def to_predict(self) -> State | None:
        """The current state, or that of given centers where none are trained yet."""
        state, parameters = self.current(), self.settings.parameters
        if parameters.has_centers and (state is None or not state.initialized):
            return from_centers(parameters)
        return state

    def trained(self, method: str) -> State:
        """The same; NotFittedError where there are no centers, for ``method`` needs them."""
        state = self.to_predict()
        if state is None or not state.initialized:
            raise not_fitted(method)
        return state

    def variables(self, method: str) -> dict[str, Any]:
        """The parts of the state, by name, for ``method``."""
        state = self.to_predict()
        if state is None:
            raise not_fitted(method)
        return state.variables()

    def at(self, checkpoint_path: str) -> State:
        """The state in a checkpoint that the user names."""
        folder = None if self.directory is None else self.directory.path
        path, found = read_file(checkpoint_path, folder)
        found.check_fits(path, self.settings.parameters, self.settings.named.features)
        if not found.state.initialized:
            raise BadInputError(f"checkpoint_path {path} was written before there were centers")
        return found.state

    def restore(self, state: State, columns: tuple[Any, ...] | None) -> None:
        """Continue from a state that comes from elsewhere."""
        if not isinstance(state, State):
            raise BadInputError(
                f"state is of type {type(state).__name__}; it must be a shoal.State, such as the "
                "state of another model"
            )
        if columns is not None and not isinstance(columns, tuple):
            raise BadInputError(f"columns is {columns!r:.80}; it must be a tuple of names, or None")
        wanted = self.settings.parameters.num_clusters
        if state.num_found != wanted:
            raise BadInputError(
                f"the state has {state.num_found} centers, num_clusters is {wanted}: they must "
                "agree"
            )
        if self.directory is not None and self.current() is not None:
            raise CheckpointError(
                f"model_dir {self.directory.path} holds a model already: choose an empty directory"
            )
        self.state, self.learned = state, columns

    # --- names of columns ------------------------------------------------------------------

    def known(self) -> tuple[Any, ...] | None:
        """Names in the order of the centers; () for centers without, None where none are known."""
        settings = self.settings
        return known_names(settings.parameters, self.state, settings.named, self.learned)

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """Names of the columns of the current state."""
        self.current()
        return self.learned or self.known()

    def asked(self, weigh: bool = True, training: bool = False) -> Columns:
        """The columns to read of data."""
        settings = self.settings
        parameters, named = settings.parameters, settings.named
        return names_asked(parameters, self.state, named, self.learned, weigh, training)

    def learn(self, source: Source) -> None:
        """Remember the names of the columns of data, if they are the first."""
        if not self.learned and source.columns:
            self.learned = learned_names(self.known(), self.settings.named, source)

    # --- directory -------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """The directory, as the user named it; or the temporary one."""
        given: str | os.PathLike[str] | None = self.settings.arguments["model_dir"]
        if given is not None:
            return os.fspath(given)
        return None if self.directory is None else str(self.directory.path)

    @contextmanager
    def writing(self) -> Iterator[list[object]]:
        """Be the one who writes into ``model_dir``; gives the monitor that saves, if any.

        However training ends, the last completed step is saved, if it can be.
        """
        run = self.settings.run
        if self.directory is None and run.save_checkpoints_steps is not None:
            self.directory = ModelDir(Path(tempfile.mkdtemp(prefix="shoal-")), temporary=True)
            logger.info("checkpoints are written to %s", self.directory.path)
        if self.directory is None:
            yield []
            return
        with self.directory.held(), self._alone():
            self._take(self.directory.news(self._check_found))
            try:
                yield [CheckpointSaver(self.save, run)]
            except CheckpointError:
                raise
            except BaseException:
                try:
                    self.save()
                except CheckpointError as error:
                    logger.error("%s", error)
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Other threads take the state from here, and do not look into the directory."""
        with self._looking:
            self._writes = True
        try:
            yield
        finally:
            with self._looking:
                self._writes = False

    def save(self) -> None:
        """Write a checkpoint, unless the state is in the directory already."""
        if self.directory is None or self.state is None or self.directory.holds(self.state):
            return
        checkpoint = Checkpoint(self.state, self.settings.kept, self.learned)
        self.directory.write(checkpoint, self.settings.run.keep_checkpoint_max)

    def save_at_last(self) -> None:
        """Save a state that could not be saved when it was reached."""
        if self.directory is not None and not self.directory.holds(self.state):
            with self.writing():
                self.save()

    def _attach(self, settings: Settings) -> None:
        """Keep the model in the directory of some settings, and go on from what is there."""
        path, directory = settings.folder, self.directory
        if path is None:
            self.directory = directory if directory is not None and directory.temporary else None
            return
        if directory is not None and directory.path == path:
            return
        there = ModelDir(path)
        parameters, features = settings.parameters, settings.named.features
        found = there.news(lambda checkpoint: checkpoint.check_fits(path, parameters, features))
        if found is not None and self.state is not None:
            raise CheckpointError(
                f"model_dir {path} holds a model, and this one is trained already: choose an empty "
                "directory, or make a new KMeansClustering"
            )
        self._take(found)
        self.directory = there

    def _take(self, found: Checkpoint | None) -> None:
        if found is not None:
            self.state, self.learned = found.state, found.columns

    def _check_found(self, found: Checkpoint) -> None:
        """Refuse checkpoints that someone has put into ``model_dir`` where they do not fit."""
        assert self.directory is not None
        path = self.directory.path
        found.check_fits(path, self.settings.parameters, self.settings.named.features)
        if not self.directory.holds(self.state):
            raise CheckpointError(
                f"model_dir {path} was trained further by another process, to step "
                f"{found.state.global_step}, and this model has steps that could not be saved: "
                "save it with shoal.save_model, or make a new KMeansClustering to go on "
                "from the directory"
            )
