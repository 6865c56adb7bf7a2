"""The face of the folder: light, and exactly what leaves it."""

import faces
from kerasft.export import toolchains

PUBLIC = {
    "EthosUBuild",
    "MicroRun",
}  # users get them through kerasft.export, which takes names from its table


def test_the_face_lists_what_leaves_the_folder():
    assert faces.imported_from_outside("toolchains") | PUBLIC == set(toolchains.__all__)
    for name in toolchains.__all__:
        assert getattr(toolchains, name) is not None


def test_neither_tensorflow_nor_a_toolchain_is_imported():
    assert faces.loaded_by("kerasft.export.toolchains") == set()
