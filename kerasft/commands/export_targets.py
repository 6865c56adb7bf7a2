"""`kerasft export --target`: what the toolchains of small devices make of an exported file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasft.export import Report

MICRO = "micro"


def check_targets(targets: Sequence[str], out: Path, given: Mapping[str, Any]) -> None:
    """Raise unless all targets exist, their toolchains are installed, and their files can be written.

    Args:
        targets: "micro" and names of NPUs.
        out: The .tflite file that is to be written.
        given: What was typed, by the option's name.

    Raises:
        ValueError: There is no such target, or an option does not go with one.
        ImportError: A toolchain is not installed; the message names its extra.
        FileExistsError: A file of a target's exists.
    """
    if given["keep_compiled"] and not _accelerators(targets):
        raise ValueError("--keep-compiled keeps what --target ethos-u55-128, say, has compiled: name an NPU.")
    if not targets:
        return
    from kerasft.export.files import check_target
    from kerasft.export.toolchains import ACCELERATORS, c_array_paths, check_ethos_u, check_micro

    if unknown := [name for name in targets if name not in (MICRO, *ACCELERATORS)]:
        raise ValueError(f"--target is {MICRO} or one of {', '.join(ACCELERATORS)}; received {unknown[0]!r}.")
    if out.suffix != ".tflite" or given["precision"] == "all":
        raise ValueError("--target goes with one precision, and an --out that ends in .tflite.")
    if given["batch"] != "1":
        raise ValueError("--target goes with --batch 1: small devices have memory for one size.")
    if MICRO in targets:
        check_micro()
    if _accelerators(targets):
        check_ethos_u()
    files = [*c_array_paths(out, out.parent)] if MICRO in targets else []
    if given["keep_compiled"]:
        files += [compiled_path(out, name) for name in _accelerators(targets)]
    for path in files:
        check_target(path, overwrite=given["overwrite"])


def compiled_path(out: Path, accelerator: str) -> Path:
    """Where the file that was compiled for an NPU lies, beside the exported one."""
    return out.with_name(f"{out.stem}_{accelerator}.tflite")


def build_for_targets(
    report: Report,
    targets: Sequence[str],
    golden: Any,
    *,
    keep_compiled: bool,
    overwrite: bool,
    say: Callable[[str], object],
) -> None:
    """Run an exported file in TFLite Micro and write it as a C array, or compile it for NPUs.

    Raises:
        ExportError: A toolchain refuses the file; the exported file stays.
    """
    from kerasft.export import compile_for_ethos_u, run_on_micro, to_c_array

    if MICRO in targets:
        run = run_on_micro(report, golden)
        say(str(run))
        source, header = to_c_array(report, Path(report.path).parent, micro=run, overwrite=overwrite)
        say(f"{source} and {header}: the file as a C array")
    for name in _accelerators(targets):
        kept = compiled_path(Path(report.path), name) if keep_compiled else None
        built = compile_for_ethos_u(report, name, path=kept, overwrite=overwrite)
        say(str(built) if kept is None else f"{built}\n{kept}")


def _accelerators(targets: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(targets) if name != MICRO]
