"""Numbers that users give are checked in one wording."""

import math

import numpy as np
import pytest

from kerasft.arguments import check_integer, check_number


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.25), np.int64(1)])
def test_numbers_within_bounds_pass(value):
    assert check_number("rate", value, above=0, at_most=1) is None


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf])
def test_numbers_out_of_bounds_are_refused(value):
    with pytest.raises(ValueError, match=r"rate is a number above 0 and of at most 1; received"):
        check_number("rate", value, above=0, at_most=1)


def test_an_integer_beyond_all_floats_is_refused():
    for check in (check_number, check_integer):
        check("rate", 10**300)
        for value in (10**400, -(10**400)):
            with pytest.raises(ValueError, match=r"rate is an? (number|integer); received -?1000"):
                check("rate", value)


def test_the_other_bounds():
    check_number("share", 0, at_least=0, below=1)
    for value in (-0.1, 1):
        with pytest.raises(ValueError, match="share is a number of at least 0 and below 1"):
            check_number("share", value, at_least=0, below=1)


@pytest.mark.parametrize("value", [True, "1", None, [1], 1j])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"rate is a number; received"):
        check_number("rate", value)


@pytest.mark.parametrize(
    ("value", "error"), [(True, TypeError), (1.0, TypeError), ("2", TypeError), (0, ValueError)]
)
def test_integers(value, error):
    check_integer("steps", np.int32(1), at_least=1)
    check_integer("steps", -5)
    with pytest.raises(error, match="steps is an integer of at least 1; received"):
        check_integer("steps", value, at_least=1)
