"""What came of it: accuracies, exported files, confused classes, and the samples that are wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kerasft.report.markup import Markup, element, joined, listed, table
from kerasft.report.numbers import NOTHING, counted, decimal, is_number, size
from kerasft.report.run_folder import MissingError, Run

_IN_MATRIX = 25  # classes
_IN_LIST = 30
_WRONG = 24
_PICTURE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]{1,40000}")


def tiles(run: Run) -> Markup:
    """The numbers that matter most."""
    report = run.evidence.get("search", {}) if run.kind == "search" else run.report
    found: list[tuple[object, str]] = []
    if is_number(report.get("accuracy")):
        whose = "test accuracy of the best trial" if run.kind == "search" else "test accuracy, fine-tuned"
        found.append((decimal(report["accuracy"]), whose))
    if is_number(report.get("head_accuracy")):
        found.append((decimal(report["head_accuracy"]), "test accuracy, frozen with a trained head"))
    exports = [row for row in (report.get("exports") or {}).values() if is_number(row.get("size_bytes"))]
    if exports:
        smallest = min(exports, key=lambda row: row["size_bytes"])
        found.append((size(smallest["size_bytes"]), f"the smallest file, {smallest['precision']}"))
    if is_number(report.get("seconds")):
        found.append((f"{report['seconds']:.0f} s", "whole time"))
    shown = (element("div", element("strong", number), element("span", what)) for number, what in found)
    return element("div", *shown, class_="tiles")


def precisions(run: Run) -> Markup:
    """The exported files: size, accuracy and its loss, latency, distance from the model."""
    exports, failures = run.report.get("exports") or {}, run.report.get("not_exported") or {}
    if not exports and not failures:
        raise MissingError(run.why_missing if not run.finished else "nothing was exported")
    parts = [table(_FILE, (_file(row) for row in exports.values()))] if exports else []
    parts += [
        element("p", f"{precision} was not exported: {why}", class_="warning")
        for precision, why in failures.items()
    ]
    return joined(parts)


_FILE = ("file", "precision", "size", "test accuracy", "points lost (95 %)", "one call here", "off Keras by")


def _file(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The row of an exported file."""
    quality, lost = row.get("quality") or {}, NOTHING
    if quality:
        low, high = (100 * bound for bound in quality["interval"])
        lost = f"{100 * quality['drop']:.2f} ({low:.2f} to {high:.2f})"
    latency = (row.get("speed") or {}).get("ms", {}).get("1")
    return (
        PurePath(row["path"]).name,
        row["precision"],
        size(row["size_bytes"]),
        decimal(quality.get("accuracy_file")),
        lost,
        f"{latency:.2f} ms" if is_number(latency) else NOTHING,
        f"{row['parity']['max_abs']:.1e}",
    )


def confusion(run: Run) -> Markup:
    """Which classes were taken for which, on the test part."""
    found = run.section("evaluation")
    classes, counts = _counts(found)
    total = sum(counts.values())
    right = sum(count for (true, named), count in counts.items() if true == named)
    share = decimal(right / total) if total else NOTHING
    parts = [element("p", f"{right:,} of {counted(total, 'test sample')} are right ({share}).")]
    if len(classes) <= _IN_MATRIX:
        parts.append(_matrix(classes, counts))
    pairs = sorted((p for p in counts if p[0] != p[1]), key=lambda p: (-counts[p], p))[:_IN_LIST]
    if pairs and len(classes) > _IN_MATRIX:
        rows = ((classes[true], classes[named], counts[true, named]) for true, named in pairs)
        parts.append(table(("class", "taken for", "times"), rows, "What is confused most often"))
    parts.append(_by_class(classes, counts))
    return joined(parts)


def wrong(run: Run) -> Markup:
    """The samples that are wrong, those first of which the model is surest."""
    found = run.section("evaluation")
    classes, counts = _counts(found)
    whole = sum(count for (true, named), count in counts.items() if true != named)
    shown = list(found["wrong"])[:_WRONG]
    if not whole:
        return element("p", "No test sample is wrong.")
    which = "" if len(shown) == whole else f" Here are the {len(shown)} of which the model is surest."
    said = f"{counted(whole, 'test sample')} {'is' if whole == 1 else 'are'} wrong.{which}"
    are_texts = any(isinstance(row.get("text"), str) for row in shown)
    items = [_sample(row, classes) for row in shown]
    return joined([element("p", said), element("ul", *items, class_="wrong texts" if are_texts else "wrong")])


def _sample(row: Mapping[str, Any], classes: Sequence[str]) -> Markup:
    true, named = classes[row["true"]], classes[row["predicted"]]
    parts: list[object] = []
    picture = row.get("picture")
    if isinstance(picture, str) and _PICTURE.fullmatch(picture):
        alt = f"A picture of class {true}, taken for {named}"
        tiny = "tiny" if is_number(row.get("side")) and row["side"] < 48 else None
        parts.append(element("img", src=picture, alt=alt, class_=tiny, width=96, height=96))
    if isinstance(row.get("text"), str):
        parts.append(element("q", row["text"]))
    said = f"taken for {named}" + (f" ({100 * row['score']:.0f} %)" if is_number(row.get("score")) else "")
    parts += [element("b", true), said]
    if row.get("name"):
        parts += [Markup("<br>"), element("span", row["name"], class_="quiet")]
    return element("li", *parts)


def _counts(found: Mapping[str, Any]) -> tuple[list[str], dict[tuple[int, int], int]]:
    """The names of the classes, and how often a class (first) was taken for another (second)."""
    classes = [str(name) for name in found["classes"]]
    counts = {(int(true), int(named)): int(count) for true, named, count in found["confusion"]}
    if any(not 0 <= place < len(classes) for pair in counts for place in pair):
        raise ValueError("the confusion matrix has classes without a name")
    return classes, counts


def _matrix(classes: Sequence[str], counts: Mapping[tuple[int, int], int]) -> Markup:
    header = ["class ↓ taken for →", *classes]
    head = [element("th", name, scope="col", title=name) for name in header]
    body = []
    for true, name in enumerate(classes):
        total = sum(counts.get((true, named), 0) for named in range(len(classes)))
        cells = []
        for named in range(len(classes)):
            count = counts.get((true, named), 0)
            share = round(80 * count / total) if total else 0
            looks = (("right", true == named), ("hit", count), ("deep", share > 45))
            look = " ".join(word for word, on in looks if on) or None
            style = f"--share:{share}" if count else None
            tip = f"{name} taken for {classes[named]}: {count}"
            cells.append(element("td", count or "", class_=look, style=style, title=tip))
        body.append(element("tr", element("th", name, scope="row", title=name), *cells))
    whole = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="matrix")
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label="confusion matrix")


def _by_class(classes: Sequence[str], counts: Mapping[tuple[int, int], int]) -> Markup:
    """How many samples of each class were found; of many classes those that are found least."""
    rows = []
    for place, name in enumerate(classes):
        samples = sum(count for (true, _), count in counts.items() if true == place)
        named = sum(count for (_, taken), count in counts.items() if taken == place)
        hit = counts.get((place, place), 0)
        rows.append((name, samples, hit / samples if samples else None, hit / named if named else None))
    caption = "By class"
    if len(rows) > _IN_LIST:
        rows = sorted(rows, key=lambda row: 2.0 if row[2] is None else row[2])[:_IN_LIST]
        caption = f"The {_IN_LIST} of {len(classes):,} classes that are found least"
    header = ("class", "test samples", "recall", "precision")
    return table(header, ((n, s, decimal(r, 3), decimal(p, 3)) for n, s, r, p in rows), caption)


def problems(run: Run) -> Markup:
    """What is damaged or not there yet, before everything else."""
    parts = []
    if not run.finished:
        parts.append(
            element(
                "p",
                "This run has not ended: the page shows what it has stored so far. Go on with the same "
                "command and --resume, then make the page again.",
                class_="warning",
            )
        )
    if run.problems:
        parts.append(element("div", "Some of the run can't be read:", listed(run.problems), class_="warning"))
    return joined(parts)
