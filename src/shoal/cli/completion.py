"""``shoal completion``: a script that completes commands, options and files in a shell."""

from __future__ import annotations

import argparse

from shoal.cli.output import Result
from shoal.errors import MissingExtraError

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def completion(options: argparse.Namespace) -> Result:
    """Print the script; made once, so that a Tab starts no Python."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("shoal completion", "shtab", "completion") from None
    print(shtab.complete(options.parser, shell=options.shell).rstrip())
    return {}
