"""The command `kerasft`: a file for each subcommand, and the jobs that they run.

Commands import TensorFlow only inside their functions, so that `kerasft --help` is quick.
"""

from kerasft.commands.main import app

__all__ = ["app"]
