"""`python -m kerasft`: the command `kerasft`."""

from kerasft.commands import app

if __name__ == "__main__":
    app()
