"""The job of `kerasft search`: images in, the best model and a report on all trials out."""

from __future__ import annotations

import contextlib
import io
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from rich.console import Console

from kerasft.commands.class_weights import named, say_weights, weights_of
from kerasft.commands.classifier import build_classifier, load_for
from kerasft.commands.evaluation import evaluated
from kerasft.commands.evidence import Evidence, described, versions
from kerasft.commands.input_range import input_range
from kerasft.commands.live_table import LiveTable
from kerasft.commands.outcome import SearchOutcome
from kerasft.commands.settings import SearchSettings
from kerasft.commands.workspace import workspace
from kerasft.data import ImageData
from kerasft.report import PAGE, write_page
from kerasft.search import ExportedAccuracy, FreezeDepthSearch, ranked, repair_search


def run(data: ImageData, settings: SearchSettings, console: Console | None = None) -> SearchOutcome:
    """Search, and write the best model and a report on all trials into `settings.out`.

    Args:
        data: Training, validation and test images with labels.
        settings: The backbone, what is searched, and where to write.
        console: Where the live table is; None makes one.

    Raises:
        FileExistsError: `settings.out` is in use, or has an unfinished search, and `overwrite` is off.
        FileNotFoundError: There is nothing to resume.
        ValueError: A setting does not fit the backbone or the data, or the search to be resumed.
        RuntimeError: Every trial has failed, or another process works on `out`.
    """
    begin = time.perf_counter()
    identity = settings.identity(data)
    weights = weights_of(settings.class_weights, data.class_names, data.class_counts)
    with workspace(settings.out, identity, settings.overwrite, settings.resume) as work:
        console = console or Console()
        evidence = Evidence(work)
        evidence.add(settings=identity, data=described(data), versions=versions())
        say = partial(console.print, highlight=False, markup=False)
        say_weights(weights, data.class_names, data.class_counts, say)
        stored = work.state / "input_range.json"
        pixels = input_range(load_for(settings), data, settings.input_range, stored, console.print)
        search = FreezeDepthSearch(
            lambda: _build(settings, len(data.class_names), pixels),
            settings.depths,
            settings.recipes,
            settings.learning_rate,
            budget=settings.budget,
            batch_norm=settings.batch_norm,
            frozen_dropout="inference",
            prune=settings.prune,
            seed=settings.seed,
        )
        project = work.state / "search"
        if project.exists():
            repair_search(project)
        tuner = _tuner(search, settings, work.state)
        with LiveTable(search, tuner, settings, console) as shown:
            tuner.search(
                data.train,
                validation_data=data.validation,
                epochs=settings.epochs,
                shuffle=False,  # the data set shuffles itself
                verbose=0,
                callbacks=[shown.progress],
                **({} if weights is None else {"class_weight": weights}),
            )
        records, objective = search.results(tuner), tuner.oracle.objective.name
        model = search.best_model(tuner)
        tested = evaluated(model, data, data.test)
        folder = work.results
        model.save(folder / "model.keras")
        best = ranked(records, "max")[0]
        (folder / "schedule.json").write_text(json.dumps(best.schedule, indent=2) + "\n")
        (folder / "labels.txt").write_text("\n".join(data.class_names) + "\n", encoding="utf-8")
        search.write_report(folder, tuner)
        if weights is not None:
            content = json.dumps(named(weights, data.class_names), indent=2, ensure_ascii=False)
            (folder / "class_weights.json").write_text(content + "\n", encoding="utf-8")
        data.split.to_json(folder / "split.json")
        data.pixels.to_json(folder / "pixels.json")
        seconds = time.perf_counter() - begin
        found = {"objective": objective, "accuracy": tested.accuracy, "seconds": seconds}
        evidence.add(search=found, evaluation=tested.stored())
        evidence.finish(folder)
        files = sorted([*(path.name for path in folder.iterdir()), PAGE])
    write_page(settings.out)
    return SearchOutcome(records, objective, tested.accuracy, seconds, settings.out, files)


def _build(settings: SearchSettings, classes: int, pixels: tuple[float, float]) -> keras.Model:
    model = build_classifier(load_for(settings), classes, settings.image_size, pixels)
    model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _tuner(search: FreezeDepthSearch, settings: SearchSettings, folder: Path) -> keras_tuner.Tuner:
    objective: str | ExportedAccuracy = "val_accuracy"
    if any(value is not None for value in (settings.precision, settings.max_bytes, settings.max_ms)):
        objective = ExportedAccuracy(settings.precision or "float32", settings.max_bytes, settings.max_ms)
    common: dict[str, Any] = {
        "objective": objective,
        "directory": folder,
        "project_name": "search",
        "seed": settings.seed + 1,  # keras-tuner takes 0 for no seed
    }
    with contextlib.redirect_stdout(io.StringIO()):  # keras-tuner prints that it reloads
        if settings.tuner == "hyperband":
            return keras_tuner.Hyperband(search, max_epochs=settings.epochs, **common)
        tuners = {
            "bayesian": keras_tuner.BayesianOptimization,
            "random": keras_tuner.RandomSearch,
            "grid": keras_tuner.GridSearch,
        }
        return tuners[settings.tuner](search, max_trials=settings.trials, **common)
