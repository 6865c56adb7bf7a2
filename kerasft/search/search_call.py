"""Each call of `tuner.search`, seen by the search that the tuner has: also one that runs no trial."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import keras_tuner


@runtime_checkable
class SeesSearches(Protocol):
    """A HyperModel that sees the calls of `search` of its tuners."""

    def see_search(self, tuner: keras_tuner.Tuner, search: Callable[[], None], *args: Any, **kw: Any) -> None:
        """Run `search`, which a tuner was called for with these arguments."""


def watch_searches() -> None:
    """Let each HyperModel that is a `SeesSearches` see the calls of `search`; other searches run as ever.

    keras-tuner calls its HyperModel in a trial alone: of a search whose trials have all ended, it would see
    nothing. So the class `keras_tuner.Tuner` gets a `search` that asks the HyperModel first. A second call
    changes nothing.
    """
    original = keras_tuner.Tuner.search
    if hasattr(original, "watched_by_kerasft"):
        return

    @functools.wraps(original)
    def search(self: keras_tuner.Tuner, *fit_args: Any, **fit_kwargs: Any) -> None:
        run = functools.partial(original, self, *fit_args, **fit_kwargs)
        if isinstance(self.hypermodel, SeesSearches):
            return self.hypermodel.see_search(self, run, *fit_args, **fit_kwargs)
        return run()

    vars(search)["watched_by_kerasft"] = True
    keras_tuner.Tuner.search = search


def trains_as_asked(tuner: keras_tuner.Tuner) -> bool:
    """Whether a tuner hands the arguments of `search` on to `fit`: its `run_trial` is keras-tuner's own."""
    return type(tuner).run_trial.__module__.split(".")[0] == "keras_tuner"
