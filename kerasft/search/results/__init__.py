"""What the trials of a search achieved: a record in each trial's folder, tables, figures, reports.

The records are files because trials may run in several processes, and later ones go by what earlier ones
did.
"""

from kerasft.search.results.figure import (
    trials_by_depth,
)
from kerasft.search.results.files import (
    partial_name,
    write_text,
)
from kerasft.search.results.folder import (
    CHECKPOINT,
    STATE,
    SearchFolder,
)
from kerasft.search.results.ranking import (
    best_of,
    cannot_win,
    is_better,
    ranked,
)
from kerasft.search.results.record import (
    TrialRecord,
    read_trial,
    read_trials,
)
from kerasft.search.results.repair import (
    repair_search,
)
from kerasft.search.results.tables import (
    table,
    to_csv,
    to_json,
)
from kerasft.search.results.tensorboard import (
    write_hparams,
)

__all__ = [
    "CHECKPOINT",
    "STATE",
    "SearchFolder",
    "TrialRecord",
    "best_of",
    "cannot_win",
    "is_better",
    "partial_name",
    "ranked",
    "read_trial",
    "read_trials",
    "repair_search",
    "table",
    "to_csv",
    "to_json",
    "trials_by_depth",
    "write_hparams",
    "write_text",
]
