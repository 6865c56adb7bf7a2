"""The face of the folder: exactly what leaves it."""

import faces
from kerasft.export import conversion


def test_the_face_lists_what_leaves_the_folder():
    assert faces.imported_from_outside("conversion") == set(conversion.__all__)
    for name in conversion.__all__:
        assert getattr(conversion, name) is not None
