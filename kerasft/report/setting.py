"""What a run was given: its recipe in words, its data and what was left out of them, versions, and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasft.report.markup import Markup, details, element, joined, listed, table
from kerasft.report.numbers import counted, is_number, short
from kerasft.report.run_folder import MissingError, Run


def recipe(run: Run) -> Markup:
    """What was done, in sentences."""
    settings = run.section("settings")
    said = [_backbone(settings), *_measured(run), *_phases(run), *_training(run, settings)]
    known = {"handle", "batch_norm", "image_size", "input_range", "decay", "class_weights", "seed", "data",
             "classes", "schedule", "pixels", "images", "texts"}  # fmt: skip
    rest = sorted((name, value) for name, value in settings.items() if name not in known)
    others = table(("setting", "value"), ((name.replace("_", " "), _plain(value)) for name, value in rest))
    return joined([listed(said), details("All other settings", others)])


def data(run: Run) -> Markup:
    """The data, and what was left out of them."""
    found = run.section("data")
    kind = found["kind"]
    noun = {"images": "image", "texts": "text"}.get(kind, "sample")
    parts_of = [(part, found[part]) for part in ("train", "validation", "test")]
    sizes = ", ".join(f"{counted(count, noun)} for {part}" for part, count in parts_of)
    parts = [element("p", f"{found['name']}: {sizes}.".replace("for train,", "for training,"))]
    notes = list(found["notes"])
    left = [(title, found[name]) for name, title in _LEFT_OUT if found[name]["count"]]
    parts.append(element("h3", "What was left out, and what was understood"))
    if notes:
        parts.append(listed(notes))
    for title, files in left:
        names = files["names"]
        more = [] if len(names) == files["count"] else [f"… and {files['count'] - len(names):,} more"]
        parts.append(details(f"{title}: {files['count']:,}", listed([*names, *more])))
    if not notes and not left:
        parts.append(element("p", "Nothing was left out."))
    counts = found.get("class_counts") or []
    if counts:
        rows = sorted(zip(found["classes"], counts, strict=True), key=lambda row: -row[1])
        body = table(("class", f"training {noun}s"), ((n, f"{c:,}") for n, c in rows[:_CLASSES]))
        title = "Classes" if len(rows) <= _CLASSES else f"The {_CLASSES} largest of {len(rows):,} classes"
        parts.append(details(title, body))
    return joined(parts)


def load(run: Run) -> Markup:
    """How to load the files."""
    if not run.finished:
        raise MissingError(run.why_missing)
    usage = run.evidence.get("usage")
    if isinstance(usage, str) and usage.strip():
        return element("pre", element("code", usage.strip("\n")))
    text = f'import keras, kerasft\nmodel = keras.models.load_model("{run.name}/model.keras")'
    return element("pre", element("code", text))


def versions(run: Run) -> Markup:
    """The versions of what made the run and its files."""
    found = dict(run.evidence.get("versions") or {})
    for row in (run.report.get("exports") or {}).values():
        found = {name.replace("_", "-"): version for name, version in row["versions"].items()} | found
    if not found:
        raise MissingError(run.why_missing)
    return table(("package", "version"), sorted(found.items()))


_LEFT_OUT = (("skipped", "Damaged files"), ("left_out", "Files of other kinds, and samples without a label"))
_CLASSES = 100


def _backbone(settings: Mapping[str, Any]) -> str:
    said = f"The backbone is {settings['handle']}"
    if "image_size" in settings:
        said += f", on images of {settings['image_size']} × {settings['image_size']} pixels"
    if "length" in settings:
        said += f", on texts of {settings['length']} tokens"
    return f"{said}; batch normalization: {settings.get('batch_norm', 'as the model has it')}."


def _measured(run: Run) -> list[str]:
    """What was measured before training, in the words of the run."""
    return [str(sentence) for sentence in run.evidence.get("measured") or []]


def _phases(run: Run) -> list[str]:
    """A sentence on each phase that was planned."""
    said, begin, before = [], 1, run.evidence.get("settings", {}).get("learning_rate")
    for number, phase in enumerate(run.evidence.get("phases") or [], 1):
        when = "to the end"
        if epochs := phase.get("epochs"):
            when = f"epoch {begin}" if epochs == 1 else f"epochs {begin} to {begin + epochs - 1}"
            begin += epochs
        rate = before = phase.get("learning_rate") or before
        what = f"a rate of {short(rate)}" if is_number(rate) else f"a rate that follows {rate}"
        more = ""
        if phase.get("warmup_steps"):
            more += f", warming up over {counted(phase['warmup_steps'], 'step')}"
        if phase.get("patience"):
            more += f", until {phase['monitor']} is no better for {counted(phase['patience'], 'epoch')}"
        said.append(f"Phase {number}, {when}: everything from {phase['from']} on trains at {what}{more}.")
    return said


def _training(run: Run, settings: Mapping[str, Any]) -> list[str]:
    said = []
    optimizer = run.evidence.get("optimizer")
    if optimizer:
        decay = optimizer.get("weight_decay")
        with_decay = f" with weight decay {short(decay)}" if decay else ""
        said.append(f"The optimizer is {optimizer['class']}{with_decay}, the loss {run.evidence['loss']}.")
    if is_number(settings.get("decay")):
        said.append(
            "Each stage trains at the rate of the stage above it"
            + (f" times {settings['decay']:g}." if settings["decay"] != 1 else ".")
        )
    weights = run.report.get("class_weights")
    if weights:
        each = ", ".join(f"{name}: {short(value)}" for name, value in weights.items())
        said.append(f"Classes count {each}.")
    cache = run.report.get("cache")
    if cache and cache.get("replayed"):
        count = sum(cache["replayed"])
        epochs = counted(len(cache["replayed"]), "epoch")
        said.append(f"{count} of {epochs} were trained from a record of what the frozen layers give.")
    if is_number(settings.get("seed")):
        said.append(f"The seed is {settings['seed']}.")
    return said


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
