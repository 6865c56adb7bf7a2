"""What the trials of a search achieved: a record in each trial's folder, tables, figures, reports.

The records are files because trials may run in several processes, and later ones go by what earlier ones
did.
"""

from kerasft.search.results.folder import (
    CHECKPOINT,
    STATE,
    SearchFolder,
    repair_search,
)
from kerasft.search.results.tables import (
    TrialRecord,
    best_of,
    cannot_win,
    is_better,
    partial_name,
    ranked,
    read_trial,
    read_trials,
    table,
    to_csv,
    to_json,
    write_text,
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
    "write_hparams",
    "write_text",
]
