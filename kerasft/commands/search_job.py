"""The job of `kerasft search`: data in, the best model and a report on all trials out."""

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
from kerasft.commands.evaluation import evaluated
from kerasft.commands.evidence import Evidence, described, versions
from kerasft.commands.image_task import ImageSamples
from kerasft.commands.live_table import LiveTable
from kerasft.commands.outcome import SearchOutcome
from kerasft.commands.settings import SearchSettings, TextSearchSettings
from kerasft.commands.text_task import TextSamples
from kerasft.commands.workspace import workspace
from kerasft.data import ImageData, TextData
from kerasft.report import PAGE, write_page
from kerasft.search import ExportedAccuracy, FreezeDepthSearch, ranked, repair_search


def run(
    data: ImageData | TextData, settings: SearchSettings, console: Console | None = None
) -> SearchOutcome:
    """Search, and write the best model and a report on all trials into `settings.out`.

    Args:
        data: Training, validation and test images with labels; or texts, with `TextSearchSettings`.
        settings: The backbone, what is searched, and where to write.
        console: Where the live table is; None makes one.

    Raises:
        FileExistsError: `settings.out` is in use, or has an unfinished search, and `overwrite` is off.
        FileNotFoundError: There is nothing to resume.
        TypeError: Data and settings are not of one kind.
        ValueError: A setting does not fit the backbone or the data, or the search to be resumed.
        RuntimeError: Every trial has failed, or another process works on `out`.
    """
    begin = time.perf_counter()
    samples = _samples(data, settings)
    weights = weights_of(settings.class_weights, data.class_names, data.class_counts)
    identity, defaults = samples.identity(), settings.defaults()
    with workspace(settings.out, identity, settings.overwrite, settings.resume, defaults) as work:
        console = console or Console()
        evidence = Evidence(work)
        evidence.add(settings=identity, data=described(data, samples.notes), versions=versions())
        say = partial(console.print, highlight=False, markup=False)
        say_weights(weights, data.class_names, data.class_counts, say)
        build = samples.builder(work.state, say)
        search = FreezeDepthSearch(
            lambda: _compiled(build()),
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
                samples.train,
                validation_data=samples.validation,
                epochs=settings.epochs,
                shuffle=False,  # the data set shuffles itself
                verbose=0,
                callbacks=[shown.progress],
                **({} if weights is None else {"class_weight": weights}),
            )
        records, objective = search.results(tuner), tuner.oracle.objective.name
        model = search.best_model(tuner)
        tested = evaluated(model, data, samples.test)
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
        samples.save(folder)
        seconds = time.perf_counter() - begin
        found = {"objective": objective, "accuracy": tested.accuracy, "seconds": seconds}
        evidence.add(search=found, evaluation=tested.stored())
        evidence.finish(folder)
        files = sorted([*(path.name for path in folder.iterdir()), PAGE])
    write_page(settings.out)
    return SearchOutcome(records, objective, tested.accuracy, seconds, settings.out, files)


def _samples(data: ImageData | TextData, settings: SearchSettings) -> ImageSamples | TextSamples:
    if isinstance(data, ImageData):
        return ImageSamples(data, settings)
    if not isinstance(settings, TextSearchSettings):
        raise TypeError(f"A search on texts takes TextSearchSettings, not {type(settings).__name__}.")
    return TextSamples(data, settings)


def _compiled(model: keras.Model) -> keras.Model:
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
