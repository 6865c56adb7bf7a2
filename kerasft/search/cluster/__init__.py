"""A search whose trials run on the machines of a Ray cluster."""

from kerasft.search.cluster.driver import (
    search_on_ray,
)

__all__ = [
    "search_on_ray",
]
