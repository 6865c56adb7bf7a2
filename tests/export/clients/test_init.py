"""The face of the folder: light, and exactly what leaves it."""

import faces
from kerasft.export import clients


def test_the_face_lists_what_leaves_the_folder():
    assert faces.imported_from_outside("clients") == set(clients.__all__)
    for name in clients.__all__:
        assert getattr(clients, name) is not None


def test_no_tensorflow_is_imported():
    assert faces.loaded_by("kerasft.export.clients") == set()
