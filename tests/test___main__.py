"""`python -m kerasft`."""

import subprocess
import sys

from command_line import kerasft_command


def test_the_package_runs_as_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "kerasft", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    status, expected = kerasft_command("--help")
    assert status == 0
    assert "Usage: python -m kerasft" in run.stdout

    def words(text):
        return [word for word in text.split() if word.isalpha()][2:]

    assert words(run.stdout.partition("Fine-tune")[2]) == words(expected.partition("Fine-tune")[2])


def test_importing_it_runs_nothing():
    import kerasft.__main__

    assert callable(kerasft.__main__.app)
