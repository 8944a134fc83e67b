"""How the names of files end: a name of one format never holds another."""

from __future__ import annotations

import os

from shoal.checks import path_of
from shoal.errors import BadInputError

#: What writes a file whose name ends so.
WRITERS = {
    ".onnx": "export_onnx",
    ".npy": "shoal.export.to_npy",
    ".npz": "shoal.save_model",
    ".faiss": "shoal.export.to_faiss",
    ".safetensors": "shoal.save_model",
}


def check_ending(path: str | os.PathLike[str], *own: str) -> None:
    """Refuse a name that ends as another format's files do: readers go by it.

    Parameters
    ----------
    path
        The file to write. Endings that no format has are the user's business.
    own
        How files of the format end.

    Raises
    ------
    BadInputError
        If ``path`` ends as those of another one.
    """
    ending = path_of("path", path).suffix.lower()
    if ending in WRITERS and ending not in own:
        raise BadInputError(
            f"path is {os.fspath(path)!r}, which ends in {ending}, and files of this format in "
            f"{own[0]}: give it such a name, or write a {ending} file with {WRITERS[ending]}"
        )
