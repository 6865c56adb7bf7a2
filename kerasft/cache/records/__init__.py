"""What was recorded: tables of rows under a cap, the row of each sample, and the order of epochs.

Numpy and files alone; nothing here knows Keras.
"""

from kerasft.cache.records.record_files import (
    SavedRecord,
    read_records,
    write_record,
)
from kerasft.cache.records.repeat_detector import (
    RepeatDetector,
)
from kerasft.cache.records.replay_order import (
    ReplayOrder,
)
from kerasft.cache.records.sample_index import (
    SampleIndex,
)
from kerasft.cache.records.storage import (
    Storage,
    free_memory,
)
from kerasft.cache.records.table import (
    StorageError,
    Table,
)

__all__ = [
    "SampleIndex",
    "SavedRecord",
    "RepeatDetector",
    "ReplayOrder",
    "Storage",
    "StorageError",
    "Table",
    "free_memory",
    "read_records",
    "write_record",
]
