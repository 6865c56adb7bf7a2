"""The arguments of PrefixCache are checked when it is made."""

import os
from pathlib import Path

import pytest

from kerasft import PrefixCache
from kerasft.cache.options import check_options, free_disk


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"storage": 3}, TypeError, 'storage is "auto", "memory" or a folder, not 3'),
        ({"storage": ""}, TypeError, "not ''"),
        ({"storage": "mem"}, ValueError, "is 'mem' \"memory\""),
        ({"max_bytes": 0}, ValueError, "max_bytes is an integer of at least 1; received 0"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes is an integer of at least 1; received 1.5"),
        ({"dtype": "int8"}, ValueError, "labels and weights of samples are kept as they are"),
        ({"keep": True}, ValueError, "keep=True needs a folder"),
        ({"augmented_views": 0}, ValueError, "augmented_views is an integer of at least 1"),
    ],
)
def test_wrong_arguments(given, error, message):
    with pytest.raises(error, match=message):
        PrefixCache(**given)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="can't write into the folder"):
        PrefixCache(tmp_path / "file" / "below")


def test_a_folder_with_a_name_like_a_kind_of_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./auto", "./memo", Path("memo")):
        assert PrefixCache(name).folder.is_dir()
    assert PrefixCache("memo").folder.is_dir()  # it is there by now


def test_right_arguments(tmp_path):
    check_options(None, "float32", 1, False, None)
    check_options(1, "float16", 3, True, tmp_path)
    assert free_disk(tmp_path) > 0
