"""What was recorded: tables of rows under a cap, the row of each sample, and the order of epochs.

Numpy and files alone; nothing here knows Keras.
"""

from kerasft.cache.records.record_files import (
    Kept,
    keep,
    kept,
)
from kerasft.cache.records.repeat_detector import (
    Passes,
)
from kerasft.cache.records.sample_index import (
    Index,
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
    "Index",
    "Kept",
    "Passes",
    "Storage",
    "StorageError",
    "Table",
    "free_memory",
    "keep",
    "kept",
]
