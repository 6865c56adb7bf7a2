"""A .tflite file compiled for an Arm Ethos-U NPU by Vela, and what the compiler says about it."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..errors import ExportError
from ..files import check_target, replacing
from ..report import Report
from ..scratch import scratch
from ..tflite_file import read_operations

# By family, the system and the memory that Vela's own configuration file has and that it takes by itself.
_DEFAULTS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
_SIZES = {
    "ethos-u55": (32, 64, 128, 256),
    "ethos-u65": (256, 512),
    "ethos-u85": (128, 256, 512, 1024, 2048),
}
ACCELERATORS = tuple(f"{family}-{size}" for family, sizes in _SIZES.items() for size in sizes)
"""The NPUs, each with its multiplications and additions of 8 bits in a cycle."""

_CONFIGURATION = "Arm/vela.ini"
_ON_NPU = "ethos-u"  # the operation that a compiled file has in place of others
_SECONDS = 600
_REFUSED = re.compile(r"^Warning \(supported operators\) operator: (\w+), ofm: '(.*)'$")


@dataclass(frozen=True)
class EthosUBuild:
    """A file compiled for an NPU; numbers are the compiler's, which has run nothing.

    Attributes:
        accelerator: The NPU, one of ACCELERATORS.
        version: Of ethos-u-vela.
        system_config: The system for which cycles are estimated, a section of Vela's configuration file.
        memory_mode: Where weights and activations lie, another one.
        operations: How many operations the file has.
        on_cpu: How many operations of which kind are left to the CPU.
        reasons: Why, by the name of the tensor that an operation writes, as far as the compiler says it.
        sram_bytes: SRAM for activations.
        flash_bytes: Flash for weights and commands.
        dram_bytes: DRAM for both, in systems that have it.
        cycles: Estimated cycles of the NPU for one inference, with its accesses to memory.
        clock_hz: Its clock in that system.
        macs: Multiplications and additions of one inference.
        size_bytes: Size of the compiled file.
        path: The compiled file; None if it was not kept.
    """

    accelerator: str
    version: str
    system_config: str
    memory_mode: str
    operations: int
    on_cpu: dict[str, int]
    reasons: dict[str, str]
    sram_bytes: int
    flash_bytes: int
    dram_bytes: int
    cycles: int
    clock_hz: int
    macs: int
    size_bytes: int
    path: str | None = None

    @property
    def share(self) -> float:
        """Share of the file's operations that the NPU computes; 0 for a file without operations."""
        return 1 - sum(self.on_cpu.values()) / self.operations if self.operations else 0.0

    @property
    def ms(self) -> float:
        """Estimated time of one inference on the NPU, in milliseconds, without what is left to the CPU."""
        return 1000 * self.cycles / self.clock_hz

    def __str__(self) -> str:
        taken = self.operations - sum(self.on_cpu.values())
        left = ", ".join(f"{n} × {name}" for name, n in self.on_cpu.items())
        memories = (("SRAM", self.sram_bytes), ("flash", self.flash_bytes), ("DRAM", self.dram_bytes))
        used = ", ".join(f"{size / 1024:,.1f} KiB {name}" for name, size in memories if size)
        shared = f"{taken} of {self.operations} operations on the NPU ({100 * self.share:.0f} %)"
        return (
            f"{self.accelerator}: {shared}{f', on the CPU {left}' if left else ''}; {used or 'no memory'}; "
            f"{self.cycles:,} cycles, {self.ms:.3g} ms at {self.clock_hz / 1e6:.0f} MHz, as Vela "
            f"{self.version} estimates for {self.system_config} with {self.memory_mode}."
        )


def compile_for_ethos_u(
    report: Report,
    accelerator: str = "ethos-u55-128",
    *,
    system_config: str | None = None,
    memory_mode: str | None = None,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> EthosUBuild:
    """Compile an exported file for an Arm Ethos-U NPU by Vela, Arm's compiler.

    It runs in a process of its own. The compiled file runs on that NPU alone; the exported one stays.

    Args:
        report: What `to_tflite` returned, for an int8 file; io="int8" leaves nothing to the CPU at the edges.
        accelerator: The NPU, one of ACCELERATORS: its family, and how much it multiplies in a cycle.
        system_config: A `System_Config` of Vela's Arm/vela.ini, such as "Ethos_U55_Deep_Embedded"; by default
            that which Vela takes for the family.
        memory_mode: A `Memory_Mode` of it, such as "Sram_Only".
        path: Where to keep the compiled file, ending in `.tflite`; None keeps none.
        overwrite: Replace an existing file.

    Returns:
        What the compiler says: share of operations on the NPU, memory, and estimated cycles.

    Raises:
        TypeError, ValueError: An argument is wrong.
        ImportError: ethos-u-vela is missing.
        FileNotFoundError, FileExistsError, OSError: The compiled file can't be written.
        ExportError: Vela refuses the file, or the file was changed since its export.

    Example:
        ```python
        built = kerasft.export.compile_for_ethos_u(report, "ethos-u55-256", path="model_vela.tflite")
        print(built.share, built.sram_bytes, built.cycles)
        ```

    References:
        https://pypi.org/project/ethos-u-vela/
    """
    if not isinstance(report, Report):
        raise TypeError(
            f"compile_for_ethos_u takes the Report of to_tflite; received {type(report).__name__}."
        )
    check_accelerator(accelerator)
    target = None if path is None else Path(path)
    if target is not None:
        if target.suffix != ".tflite" or target.resolve() == Path(report.path).resolve():
            raise ValueError(
                f"The path of a compiled file ends in .tflite, and is not the exported file's; received "
                f"{target}."
            )
        check_target(target, overwrite=overwrite)
    check_ethos_u()
    built, content = built_from(report.read_file(), accelerator, system_config, memory_mode)
    if target is None:
        return built
    with replacing(target, overwrite=overwrite) as partial:
        partial.write_bytes(content)
    return EthosUBuild(**{**vars(built), "path": str(target)})


def check_accelerator(accelerator: str) -> None:
    """Raise ValueError unless an NPU of that name exists."""
    if accelerator not in ACCELERATORS:
        raise ValueError(f"accelerator is one of {', '.join(ACCELERATORS)}; received {accelerator!r}.")


def check_ethos_u() -> None:
    """Raise ImportError unless Vela is installed."""
    if importlib.util.find_spec("ethosu") is None:
        raise ImportError(
            "Compiling for Ethos-U needs ethos-u-vela, which is not installed: "
            'pip install "kerasft[ethos-u]" (it has wheels for Python up to 3.13).'
        )


def built_from(
    content: bytes, accelerator: str, system_config: str | None = None, memory_mode: str | None = None
) -> tuple[EthosUBuild, bytes]:
    """What Vela makes of a file's bytes, and the bytes that it makes.

    Raises:
        ExportError: It refuses the file, or one of the options.
    """
    family = accelerator.rpartition("-")[0]
    system, memory = system_config or _DEFAULTS[family][0], memory_mode or _DEFAULTS[family][1]
    with scratch() as folder:
        source = folder / "model.tflite"
        source.write_bytes(content)
        command = [
            *(sys.executable, "-P", "-m", "ethosu.vela", str(source), "--output-dir", str(folder)),
            *("--accelerator-config", accelerator, "--config", _CONFIGURATION),
            *("--system-config", system, "--memory-mode", memory),
        ]
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"Vela did not compile the file within {_SECONDS} seconds.") from error
        compiled, summary = folder / "model_vela.tflite", folder / f"model_summary_{system}.csv"
        if ended.returncode != 0 or not compiled.is_file() or not summary.is_file():
            said = "; ".join(
                line.strip() for line in (ended.stderr + ended.stdout).splitlines() if line.strip()
            )
            raise ExportError(
                f"Vela {version('ethos-u-vela')} does not compile the file for {accelerator} with {system} "
                f"and {memory} (exit status {ended.returncode}): {said[-400:] or 'it said nothing'}"
            )
        with summary.open(newline="") as file:
            (numbers,) = csv.DictReader(file)
        made = compiled.read_bytes()
    operations = read_operations(content)
    left = Counter(o.name for o in read_operations(made) if o.name != _ON_NPU)

    def memory_of(*names: str) -> int:
        return round(sum(float(numbers[f"{name}_memory_used"]) for name in names) * 1024)

    return EthosUBuild(
        accelerator, version("ethos-u-vela"), system, memory, len(operations), dict(left.most_common()),
        dict(_reasons(ended.stdout)), memory_of("sram"), memory_of("on_chip_flash", "off_chip_flash"),
        memory_of("dram"), round(float(numbers["cycles_total"])), round(float(numbers["core_clock"])),
        round(float(numbers["nn_macs"])), len(made),
    ), made  # fmt: skip


def _reasons(said: str) -> Iterator[tuple[str, str]]:
    """Why operations stay on the CPU, by the tensor that each writes."""
    lines = iter(said.splitlines())
    for line in lines:
        if match := _REFUSED.match(line.strip()):
            yield match[2], next(lines, "").strip().removeprefix("Reason: ")
