"""The face of the folder: light, and exactly what leaves it."""

import faces
from kerasft.export import tflite_file


def test_the_face_lists_what_leaves_the_folder():
    assert faces.imported_from_outside("tflite_file") == set(tflite_file.__all__)
    for name in tflite_file.__all__:
        assert getattr(tflite_file, name) is not None


def test_no_tensorflow_is_imported():
    assert faces.loaded_by("kerasft.export.tflite_file") == set()
