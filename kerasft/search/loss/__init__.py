"""The loss of a model that its author did not compile, from what its targets and its output are seen to be.

The targets' values decide, and the range of the output, which is measured; no name, dtype or first batch
does. Where two losses fit, both are named and neither is taken. What was found is stored in the search's
folder, so that every later process trains and scores with the same loss.
"""

from kerasft.search.loss.guess import (
    Guess,
    guess_for,
    read_guess,
    write_guess,
)

__all__ = [
    "Guess",
    "guess_for",
    "read_guess",
    "write_guess",
]
