"""What becomes of a search when a trial fails."""

from __future__ import annotations

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


def _is_of_a_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _FULL or "No space left" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
