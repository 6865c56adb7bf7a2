"""The face of the folder: exactly what leaves it."""

import faces
from kerasft.export import model


def test_the_face_lists_what_leaves_the_folder():
    assert faces.imported_from_outside("model") == set(model.__all__)
    for name in model.__all__:
        assert getattr(model, name) is not None
