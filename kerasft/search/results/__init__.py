"""What the trials of a search achieved: a record in each trial's folder, tables, figures, reports.

The records are files because trials may run in several processes, and later ones decide by what
earlier ones did.
"""

from kerasft.search.results.folder import (
    CHECKPOINT,
    STATE,
    SearchFolder,
)
from kerasft.search.results.json_file import (
    read_json,
    trial_order,
)
from kerasft.search.results.pruning import (
    is_unlikely,
)
from kerasft.search.results.ranking import (
    best_of,
    is_better,
    ranked,
)
from kerasft.search.results.record import (
    TrialRecord,
    averaged,
    read_trial,
    read_trials,
)
from kerasft.search.results.repair import (
    repair_search,
)
from kerasft.search.results.report import (
    write_report,
)
from kerasft.search.results.tables import (
    Trials,
    table,
)

__all__ = [
    "CHECKPOINT",
    "STATE",
    "SearchFolder",
    "TrialRecord",
    "Trials",
    "averaged",
    "best_of",
    "is_better",
    "is_unlikely",
    "ranked",
    "read_json",
    "read_trial",
    "read_trials",
    "repair_search",
    "table",
    "trial_order",
    "write_report",
]
