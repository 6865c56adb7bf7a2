"""What becomes of a search when a trial fails."""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Callable

import keras_tuner

from kerasft.search.results import TrialRecord, read_trials
from kerasft.search.trial import TrialContext

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)


def note_failure(
    context: TrialContext,
    recipe: str,
    error: Exception,
    seconds: float,
    on_trial_end: Callable[[TrialRecord], None] | None = None,
) -> None:
    """Write the result record of a trial that failed, or end the search; call it while `error` is handled.

    Args:
        context: The trial.
        recipe: Its recipe; "" if it was not chosen yet.
        error: What it raised.
        seconds: How long it ran.
        on_trial_end: Called with the record.

    Raises:
        FatalRuntimeError: The disk is full, and every other trial would fail as well; or as many trials as
            may fail in a row have failed, and none has succeeded.
    """
    if context.folder is None:
        return
    if _is_of_a_full_disk(error):
        raise keras_tuner.errors.FatalRuntimeError(
            f"There is no room left on the disk of {context.folder.project}. Make room, and start the same "
            "program again: the search goes on where it was, and repeats this trial."
        ) from error
    expected = isinstance(error, keras_tuner.errors.FailedTrialError)
    record = TrialRecord(
        context.number,
        context.values,
        recipe,
        status="failed",
        reason=str(error) if expected else traceback.format_exc(),
        seconds=seconds,
    )
    record.write(context.folder.trial(record.trial))
    context.folder.back_up()
    if on_trial_end is not None:
        on_trial_end(record)
    records = read_trials(context.folder.project)
    failed = [r for r in records if r.status == "failed"]
    if len(failed) == 1:
        logger.error("Trial %s failed:\n%s", record.trial, record.reason)
    if len(failed) == len(records) >= context.most_failures:
        raise keras_tuner.errors.FatalRuntimeError(
            f"All {len(failed)} trials have failed. The first one, {failed[0].trial}, with:\n"
            f"{failed[0].reason}"
        ) from error


def _is_of_a_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _FULL or "No space left" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
