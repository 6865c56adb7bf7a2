"""CacheReport: what a PrefixCache did in a fit."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class CacheReport:
    """What a `PrefixCache` did in a `fit`; `print` writes it as a sentence.

    Attributes:
        seconds: Of each epoch, validation included.
        replayed: Whether each epoch was trained from the record, without reading the source.
        samples: How many samples are recorded, validation data left out.
        bytes: Bytes of the largest record, validation data included.
        peak_bytes: The most of it that was in memory at once.
        cut: The layer whose output was recorded last.
        on_disk: Whether some of it was on disk.
        kept: Whether all samples came from a record that an earlier run had kept.
        seconds_saved: Estimated from what the frozen layers took for a sample; 0 if they never ran.
        digest: A name for the set of recorded samples, whatever their order.
        validation_digest: The same for validation data; "" if they are not recorded.
        traced_prefixes: How often the frozen layers were made ready to run, for training or for validation;
            0 if all that they give was in records of earlier runs.
        derived_records: How many records were made from records that earlier runs kept at lower depths.
    """

    seconds: list[float] = field(default_factory=list)
    replayed: list[bool] = field(default_factory=list)
    samples: int = 0
    bytes: int = 0
    peak_bytes: int = 0
    cut: str = ""
    on_disk: bool = False
    kept: bool = False
    seconds_saved: float = 0.0
    digest: str = ""
    validation_digest: str = ""
    traced_prefixes: int = 0
    derived_records: int = 0

    def __str__(self) -> str:
        kept = f"{self.samples:,} samples were recorded by an earlier run. " if self.kept else ""
        if not any(self.replayed):
            return f"{kept}No epoch of {len(self.replayed)} was trained from a record."
        saved = f", which saved about {self.seconds_saved:.0f} s" if self.seconds_saved else ""
        where = "in memory" if not self.on_disk else "partly on disk" if self.peak_bytes else "on disk"
        return (
            f"{kept}{sum(self.replayed)} of {len(self.replayed)} epochs trained from a record of "
            f"{self.samples:,} samples ({self.bytes / 1e6:.1f} MB, {where}; last at {self.cut!r}){saved}."
        )
