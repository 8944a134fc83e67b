"""A directory of checkpoints: one writer, any number of readers, the latest whole one counts.

``model_dir/shoal.json`` says what the model is; ``checkpoints/step-000001000.safetensors`` are
states, each with all that is needed to go on; ``checkpoint.json`` lists them. What counts is the
files of states themselves: the lists are for people and other programs.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from shoal.checks import path_of
from shoal.errors import CheckpointError
from shoal.state import State
from shoal.storage import safetensors
from shoal.storage.checkpoint import FORMAT, Checkpoint, check_format, read, to_parts
from shoal.storage.files import PART, check_no_link, locked, sync_folder, write_whole
from shoal.storage.jsonl import json_object, plain
from shoal.version import __version__

logger = logging.getLogger("shoal")

SETTINGS, LIST, FOLDER = "shoal.json", "checkpoint.json", "checkpoints"
NAME = re.compile(r"step-(\d{9,})\.safetensors")
DAMAGED = ".damaged"

#: How often a reader looks again where a writer removes the file it was about to read.
LOOKS = 10

#: What tells one file from another of the same name: name, inode, size, time of the last change.
Mark = tuple[str, int, int, int]


def read_file(path: str | os.PathLike[str], model_dir: Path | None) -> tuple[Path, Checkpoint]:
    """Read the checkpoint that a user names: by its path, or by its name in ``model_dir``."""
    file = path_of("checkpoint_path", path)
    if not file.is_file() and model_dir is not None and (model_dir / FOLDER / file).is_file():
        file = model_dir / FOLDER / file
    try:
        return file, read(file)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (OSError, safetensors.FormatError) as error:
        raise CheckpointError(f"{file} cannot be read: {_reason(error)}") from None


def has_checkpoints(path: Path) -> bool:
    """Whether there is anything to go on from in a directory, damaged or not."""
    return bool(ModelDir(path).steps())


class ModelDir:
    """A directory of checkpoints, and which of them a model was last in step with."""

    def __init__(self, path: Path, temporary: bool = False) -> None:
        self.path = path
        self.temporary = temporary
        self.folder = path / FOLDER
        self._mark: Mark | None = None  # the newest file when it was last looked at
        self._saved: State | None = None  # the state that is in the directory

    def holds(self, state: State | None) -> bool:
        """Whether ``state`` is the one that was last read or written here."""
        return state is self._saved

    # --- reading ---------------------------------------------------------------------------

    def news(self, check: Callable[[Checkpoint], None]) -> Checkpoint | None:
        """The latest checkpoint, unless it is the one last read or written, or there is none.

        ``check`` raises where it may not be taken over: it is news the next time too. A damaged
        file is passed over with a warning, in favour of the one before it; where all are damaged,
        CheckpointError.
        """
        for _ in range(LOOKS):
            steps = self.steps()
            try:
                mark = _mark(steps[max(steps)]) if steps else None
                if mark is None or mark == self._mark:
                    return None
                self._check_settings()
                found = self._latest_of(steps)
            except FileNotFoundError:
                continue  # the writer has removed it meanwhile: there is a newer one
            check(found)
            self._mark, self._saved = mark, found.state
            return found
        raise CheckpointError(f"the checkpoints in {self.folder} vanish while they are read")

    def _latest_of(self, steps: dict[int, Path]) -> Checkpoint:
        reasons = []
        for step in sorted(steps, reverse=True):
            try:
                found = read(steps[step])
            except FileNotFoundError:
                raise
            except (OSError, safetensors.FormatError) as error:
                reasons.append(f"{steps[step].name} cannot be used: {_reason(error)}")
                continue
            if reasons:
                warnings.warn(
                    f"model_dir {self.path}: {'; '.join(reasons)}. Going on from "
                    f"{steps[step].name}, the latest that is whole",
                    UserWarning,
                    stacklevel=2,
                )
            return found
        raise CheckpointError(
            f"no checkpoint in {self.folder} can be used ({'; '.join(reasons)}): remove the "
            "directory to begin anew, or put back a copy of a checkpoint"
        )

    def steps(self) -> dict[int, Path]:
        """The files of states, by step."""
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be read: {_reason(error)}") from None
        found = {int(match[1]): match[0] for match in map(NAME.fullmatch, names) if match}
        return {step: self.folder / name for step, name in found.items()}

    def _check_settings(self) -> None:
        """Refuse a directory of a later version; its list and settings may be missing."""
        path = self.path / SETTINGS
        try:
            settings = json_object(path.read_bytes())
            number, version = settings["format"], settings.get("version")
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("%s cannot be read (%r); the checkpoints have all of it", path, error)
            return
        check_format(path, number, version)

    # --- writing ---------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who writes; CheckpointError where nobody can."""
        with ExitStack() as stack:
            try:
                check_no_link(self.folder)
                if not self.folder.is_dir():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    sync_folder(self.path.parent)
                stack.enter_context(locked(self.path))
                if not os.access(self.folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, f"no permission to write in {FOLDER}")
            except OSError as error:
                raise CheckpointError(
                    f"model_dir {self.path} cannot be written: {_reason(error)}. Choose another "
                    "one, or model_dir=None to keep the model in memory"
                ) from None
            yield

    def write(self, checkpoint: Checkpoint, keep: int | None) -> None:
        """Add a checkpoint, then drop the oldest beyond ``keep``; CheckpointError if it fails.

        Whatever fails, and wherever the process ends, the checkpoints before stay as they are.
        """
        step = checkpoint.state.global_step
        path = self.folder / f"step-{step:09d}.safetensors"
        try:
            self._write_settings(checkpoint)
            self._put_aside(step)
            write_whole(path, to_parts(checkpoint))
            self._mark, self._saved = _mark(path), checkpoint.state
            self._rotate(keep)
        except OSError as error:
            there = sorted(self.steps())
            last = f"the last one there is of step {there[-1]}" if there else "there is none yet"
            raise CheckpointError(
                f"the checkpoint of step {step} cannot be written to {self.folder}: "
                f"{_reason(error)}; {last}. The model in memory is at step {step}: make room, then "
                "call fit again, or save it elsewhere with shoal.save_model"
            ) from error

    def _write_settings(self, checkpoint: Checkpoint) -> None:
        settings = {
            "format": FORMAT,
            "library": "shoal",
            "version": __version__,
            "parameters": checkpoint.parameters,
            "columns": plain(checkpoint.columns),
        }
        self._write_json(SETTINGS, settings)

    def _put_aside(self, step: int) -> None:
        """Rename files of later steps: only damaged ones are left, or training had gone on there.

        Parts of files that a killed writer has left are removed.
        """
        for later, path in self.steps().items():
            if later > step:
                logger.warning("%s is damaged: renamed to %s%s", path, path.name, DAMAGED)
                os.replace(path, path.with_name(path.name + DAMAGED))
        for folder in (self.path, self.folder):
            for name in os.listdir(folder):
                if name.startswith(".") and name.endswith(PART):
                    os.unlink(folder / name)

    def _rotate(self, keep: int | None) -> None:
        steps = self.steps()
        order = sorted(steps)
        kept = order if keep is None else order[-keep:]
        names = [steps[step].name for step in kept]
        self._write_json(LIST, {"latest": names[-1], "kept": names})
        for step in order[: len(order) - len(kept)]:
            with suppress(FileNotFoundError):
                os.unlink(steps[step])

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small file unless it says the same already."""
        data = (json.dumps(content, indent=2) + "\n").encode()
        path = self.path / name
        with suppress(OSError):
            if path.read_bytes() == data:
                return
        write_whole(path, [data])


def _mark(path: Path) -> Mark:
    found = path.stat()
    return path.name, found.st_ino, found.st_size, found.st_mtime_ns


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
