"""A run on one page: what its folder holds, as HTML that opens anywhere.

A job stores what it measured while it runs, as JSON beside its results. This folder knows the form of these
files, reads them, and draws the page with nothing but the standard library: it loads no TensorFlow, and
needs nothing of the job. Whatever is missing leaves a sentence in its place.
"""

from kerasft.report.page import (
    PAGE,
    write_page,
)
from kerasft.report.run_folder import (
    EVIDENCE,
    write_evidence,
)

__all__ = [
    "EVIDENCE",
    "PAGE",
    "write_evidence",
    "write_page",
]
