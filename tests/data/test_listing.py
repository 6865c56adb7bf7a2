"""What lies in a folder."""

import os

import pytest
from pictures import write_classes

from kerasft.data.listing import listed


def test_pictures_and_others_are_told_apart_and_noise_is_left_aside(tmp_path):
    write_classes(tmp_path, classes=("cat", ".hidden", "__MACOSX", "__own"), count=2)
    for name in ("a.TXT", "Thumbs.db", ".DS_Store", "desktop.ini", "b.JPG", "README"):
        (tmp_path / "cat" / name).write_text("x")
    found = listed(tmp_path)
    assert [folder.name for folder in found.folders] == ["__own", "cat"]
    assert [path.name for path in found.folders[1].files] == ["0.png", "1.png", "b.JPG"]
    assert [path.name for path in found.all_others()] == ["README", "a.TXT"]
    assert len(found.all_files()) == 5


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_circles_are_not(tmp_path):
    write_classes(tmp_path / "elsewhere", classes=("dog",), count=2)
    write_classes(tmp_path / "data", classes=("cat",), count=2)
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = listed(tmp_path / "data")
    assert [len(folder.all_files()) for folder in found.folders] == [3, 2]
