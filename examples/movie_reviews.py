"""Snippets of movie reviews with ratings by people, as a CSV file for the sentiment example.

    python examples/movie_reviews.py OUT.csv

They are in the source distribution of the PyPI package `vaderSentiment` 3.3.2 (MIT): 10,605 snippets from
rotten.tomatoes.com, each of a review of its own, rated from -4 to +4 by at least 20 people. Snippets above
+0.5 are positive, those below -0.5 negative, and those between are left out.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import tarfile
from pathlib import Path

from .download import fetched

_FILE = "vaderSentiment-3.3.2.tar.gz"
_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_CLEAR = 0.5


def read_snippets() -> list[tuple[str, str]]:
    """The snippets that are clearly positive or negative.

    Returns:
        Pairs of a text, and "positive" or "negative".

    Raises:
        ConnectionError: They can't be fetched; the message says what to use instead.

    References:
        Hutto & Gilbert (2014), VADER, ICWSM-14.
    """
    try:
        source = fetched("vaderSentiment==3.3.2", _FILE, _SHA256, source=True)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error} Or train on texts of your own: kerasft finetune DATA --backbone HANDLE --vocab "
            f"vocab.txt, "
            "where DATA is tfds:imdb_reviews, a CSV file with the columns text and label, or a folder "
            "of .txt "
            "files for each class."
        ) from error
    with tarfile.open(source) as outer, tarfile.open(fileobj=outer.extractfile(_ARCHIVE)) as inner:
        file = inner.extractfile(_TABLE)
        if file is None:
            raise ValueError(f"{source} holds no {_TABLE}.")
        lines = file.read().decode("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line]
    return [
        (text, "positive" if float(rating) > 0 else "negative")
        for _, rating, text in rows
        if abs(float(rating)) > _CLEAR
    ]


def write_csv(path: str | os.PathLike[str]) -> Path:
    """Write the snippets into a CSV file with the columns text and label.

    Args:
        path: The file.

    Returns:
        The file.
    """
    content = io.StringIO(newline="")
    csv.writer(content).writerows([("text", "label"), *read_snippets()])
    Path(path).write_text(content.getvalue(), encoding="utf-8", newline="")
    return Path(path)


def main() -> None:
    """Write the file."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(write_csv(sys.argv[1]))


if __name__ == "__main__":
    main()
