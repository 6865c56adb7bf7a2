"""resolve: handles are folders, addresses with an archive, or names on Kaggle, and every failure says why."""

import pathlib

import numpy as np
import pytest
import tensorflow_hub

from kerasft.hub.handles import resolve
from kerasft.hub.load import load_backbone


class TestRefused:
    """What is no handle: each says what is wrong."""

    def test_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no folder '.*nothing'"):
            load_backbone(tmp_path / "nothing")

    def test_missing_relative_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError, match="There is no folder 'nothing/here'"):
            load_backbone("nothing/here")

    def test_missing_path_with_dots_is_no_kaggle_handle(self):
        for path in ("../models/net/1", "./a/b/c/d"):
            with pytest.raises(FileNotFoundError, match=f"There is no folder '{path}'"):
                load_backbone(path)

    def test_missing_deep_absolute_folder_is_no_kaggle_handle(self):
        with pytest.raises(FileNotFoundError, match="There is no folder '/a/b/c/d'"):
            load_backbone("/a/b/c/d")

    def test_file(self, tmp_path):
        file = tmp_path / "model.h5"
        file.touch()
        with pytest.raises(ValueError, match=r"model\.h5 is a file\. Give the folder"):
            load_backbone(file)

    def test_handle_of_another_type(self):
        with pytest.raises(TypeError, match=r"A handle is a URL, a Kaggle handle or a folder, not 3\."):
            load_backbone(3)


class TestResolve:
    """Handles: folders, addresses with an archive behind them, names on Kaggle."""

    def test_folder_is_itself(self, tmp_path):
        assert resolve(tmp_path) == str(tmp_path)

    def test_download_once_then_from_the_cache(self, saved, hub_server, monkeypatch, tmp_path):
        address = hub_server.serve("/tiny/1", saved("chain"))
        model = load_backbone(address)
        assert hub_server.requests == ["/tiny/1?tf-hub-format=compressed"]
        x = np.ones((2, 4), "float32")
        np.testing.assert_allclose(model(x), load_backbone(saved("chain"))(x), atol=1e-6)
        hub_server.archives.clear()
        again = load_backbone(address)
        assert len(hub_server.requests) == 1
        np.testing.assert_array_equal(again(x), model(x))
        assert pathlib.Path(resolve(address)).parent == tmp_path / "cache"
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "another"))
        with pytest.raises(ConnectionError):
            load_backbone(address)
        assert len(hub_server.requests) == 2

    def test_not_found(self, hub_server):
        with pytest.raises(
            ConnectionError, match="could not be downloaded: .*404.*download the model by hand"
        ):
            load_backbone(hub_server.url + "/nothing/1")

    def test_truncated_archive(self, saved, hub_server):
        address = hub_server.serve("/tiny/1", saved("chain"))
        hub_server.archives["/tiny/1"] = hub_server.archives["/tiny/1"][:-200]
        with pytest.raises(ConnectionError, match="could not be downloaded"):
            load_backbone(address)

    def test_not_an_archive(self, hub_server):
        hub_server.archives["/page/1"] = b"<html>Sign in</html>"
        with pytest.raises(ConnectionError, match="could not be downloaded"):
            load_backbone(hub_server.url + "/page/1")

    def test_bare_kaggle_handle(self, saved, monkeypatch):
        asked = []
        monkeypatch.setattr(tensorflow_hub, "resolve", lambda h: asked.append(h) or saved("chain"))
        assert resolve("google/net/tensorFlow2/tiny-100/1") == saved("chain")
        assert asked == ["https://www.kaggle.com/models/google/net/tensorFlow2/tiny-100/1"]
        with pytest.raises(FileNotFoundError, match="owner/model/framework/variation/version"):
            resolve("google/net")
        assert len(asked) == 1
