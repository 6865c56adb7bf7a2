"""What a choice of a precision asks for, said before anything is loaded."""

import subprocess
import sys

import pytest
from kerasft.export.precisions import IO, PRECISIONS, check_choice


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("io", IO)
def test_integers_at_the_edges_go_with_int8_alone(precision, io):
    if precision == "int8" or io == "float":
        check_choice(precision, io, representative_data=[1])
        return
    with pytest.raises(ValueError, match=f'io={io!r} goes with precision="int8"; {precision}'):
        check_choice(precision, io, representative_data=[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("int4", "float", None), r"precision is one of \['dynamic', .*not 'int4'"),
        (("int8", "int16", [1]), r"io is one of \['float', 'int8', 'uint8'\], not 'int16'"),
        (("int8", "float", None), "int8 needs representative_data"),
    ],
)
def test_what_is_wrong_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        check_choice(*options)


def test_it_is_light():
    code = "import sys, kerasft.export.precisions; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
