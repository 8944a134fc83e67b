"""The command line, ``shoal``."""

from shoal.cli.commands import main

__all__ = ["main"]
