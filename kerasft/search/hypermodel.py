"""FreezeDepthSearch: a keras_tuner.HyperModel that searches how deep to unfreeze, and how to come there."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import logging
import math
import os
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kerasft import _keras
from kerasft.cache import PrefixCache
from kerasft.freezing import BatchNormPolicy, check_batch_norm
from kerasft.search.build import _copies, _takes_hyperparameters, targets_of
from kerasft.search.exported_accuracy import ExportedAccuracy, holdout_of
from kerasft.search.failures import _is_of_a_full_disk
from kerasft.search.guess_loss import loss_for
from kerasft.search.preflight import describe_data
from kerasft.search.results import (
    SearchFolder,
    TrialRecord,
    read_trial,
    read_trials,
    to_csv,
    to_json,
    trials_by_depth,
    write_hparams,
    write_text,
)
from kerasft.search.shared_work import Sharing
from kerasft.search.space import (
    NAMES,
    Range,
    SearchSpace,
    apply,
)
from kerasft.search.trial import (
    TrialRun,
    TrialTraining,
    fingerprints,
    with_checkpoint_loading,
    without_checkpoint_loading,
)
from kerasft.stages import Stages, find_stages
from kerasft.unfreezing import GradualUnfreezing, Recipe

logger = logging.getLogger(__name__)

EPOCHS = 5  # of a trial, where nobody says


class FreezeDepthSearch(keras_tuner.HyperModel):
    """Search how deep to unfreeze a model, and how to come there, with any of keras-tuner's tuners.

    Each trial builds your model, freezes it, and comes down to a freeze depth by a recipe. Searched are depth
    and recipe, the base learning rate, layer-wise decay, weight decay, the dropout of the head, and whatever
    your own `build_model(hp)` adds.

    Trials share frozen work: before the first one the head alone trains over the frozen backbone, which
    records what the frozen layers give at every depth; trials begin from those records, and with that head. A
    trial that could not become the best any more is stopped. Its checkpoint holds what training has changed.

    A search that was killed goes on when the same program is started again (keras-tuner's `overwrite=False`),
    and loses the running trial at most. Another space, model or data set is refused.

    Args:
        build_model: A function of keras-tuner's `hp`, or of nothing, that returns a model: compiled, or not.
            Its optimizer is used as it is, but for rate, weight decay and multipliers; without one it is
            AdamW.
        depths: Freeze depths or stages' names to choose from; None: all but the head's.
        recipes: Some of "frozen_head", "head_then_all", "one_stage_at_a_time" and
            "linear_probe_then_finetune"; None: all.
        learning_rate: Base learning rate: a range (low, high), a list to choose from, a number, or None for
            that of the optimizer.
        share: Whether trials share frozen work.
        budget: Seconds behind which no further trial begins; None for no limit.
        layerwise_decay: Factor of the rate from a stage to the one below it, given like `learning_rate`.
        weight_decay: Weight decay, given likewise; for optimizers that have one.
        dropout: Rate of the dropout layers behind the backbone, given likewise.
        batch_norm: As in `kerasft.freeze`.
        loss: For models that are not compiled; None guesses it by the model's output and the targets.
        metrics: Likewise.
        warm_start: Whether trials begin with the head that was trained first; needs `share`.
        prune: Whether trials are stopped that could not become the best (with Hyperband, which does so
            itself, never).
        keep: How many of the best trials' checkpoints stay.
        max_bytes: The cap of the records on disk; None: a quarter of what is free.
        seed: Of weights, order and dropout; each trial has the same.

    Attributes:
        tuner: The tuner that has searched last in this process; else None.
        on_trial_end: Called with each trial's `TrialRecord` as it ends, if it is set.

    Raises:
        TypeError, ValueError: An argument is wrong.

    Example:
        ```python
        search = kerasft.FreezeDepthSearch(build_model)
        tuner = keras_tuner.BayesianOptimization(search, "val_accuracy", max_trials=20)
        tuner.search(train, validation_data=validation, epochs=5)
        model = search.best_model()
        ```

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Kumar et al. (2022), arXiv:2202.10054; Liu et
        al. (2021), arXiv:2102.01386.
    """

    def __init__(
        self,
        build_model: Callable[..., keras.Model],
        depths: Sequence[int | str] | None = None,
        recipes: Sequence[Recipe] | None = None,
        learning_rate: Range = (1e-4, 1e-2),
        share: bool = True,
        budget: float | None = None,
        *,
        layerwise_decay: Range = (0.6, 1.0),
        weight_decay: Range = (1e-6, 1e-2),
        dropout: Range = (0.0, 0.5),
        batch_norm: BatchNormPolicy | None = None,
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        warm_start: bool = True,
        prune: bool = True,
        keep: int = 1,
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not callable(build_model) or isinstance(build_model, keras.Model):
            raise TypeError(f"build_model is a function that returns a Keras model, not {build_model!r}.")
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep is a number of checkpoints of at least 1; received {keep!r}.")
        if budget is not None and not budget > 0:
            raise ValueError(f"budget is a number of seconds above 0; received {budget!r}.")
        check_batch_norm(batch_norm)
        self.build_model = build_model
        self.space = SearchSpace(depths, recipes, learning_rate, layerwise_decay, weight_decay, dropout)
        self.share, self.budget, self.batch_norm = share, budget, batch_norm
        self.loss, self.metrics = loss, metrics
        self.prune, self.keep, self.seed = prune, keep, int(seed)
        self._sharing = Sharing(warm_start, max_bytes, self.seed)
        self._told: set[str] = set()
        self._reset()

    def _reset(self) -> None:
        """What belongs to a process."""
        self.tuner: Any = None
        self.on_trial_end: Callable[[TrialRecord], None] | None = None
        self._begun: float | None = None
        self._built: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()
        self._executions: dict[tuple[str, str], int] = {}

    def __getstate__(self) -> dict[str, Any]:
        ours = ("tuner", "on_trial_end", "_begun", "_built", "_executions")
        return {name: value for name, value in vars(self).items() if name not in ours}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    # --- keras-tuner's two methods

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build a trial's model, and declare what is searched; keras-tuner calls it.

        Args:
            hp: The trial's hyperparameters.

        Raises:
            FatalTypeError: `build_model` returned something else than a Keras model.
            ValueError: The model has no stages, or not a depth that was asked for.
        """
        model, stages = self._built_model(hp)
        apply(self.space.choose(hp, model, stages), model, stages)
        self._built[model] = fingerprints(model)
        before = hp.values.get("tuner/trial_id")
        return with_checkpoint_loading(model, skip=before and f"trial_{before}")

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train a trial's model; keras-tuner calls it with the arguments of `search`.

        Args:
            hp: The trial's hyperparameters.
            model: What `build` returned.
            *args: Of `keras.Model.fit`.
            **kwargs: Of `keras.Model.fit`. Without `epochs` there are 5.

        Returns:
            The History, or what the objective asks for instead.

        Raises:
            FatalValueError: The objective is not logged, or the search in the folder was another one.
            FatalRuntimeError: All trials so far have failed; with the first one's traceback.
        """
        arguments = dict(inspect.signature(keras.Model.fit).bind(model, *args, **kwargs).arguments)
        del arguments["self"]
        run = TrialRun.of(arguments.pop("callbacks", None), arguments)
        self.tuner, self._begun = run.tuner, self._begun or time.perf_counter()
        without_checkpoint_loading(model)
        begin = time.perf_counter()
        try:
            with _keras.release_traced_steps():
                result, record = self._run(hp, model, arguments, run)
        except keras_tuner.errors.FatalError:
            raise
        except Exception as error:
            if run.folder is not None and _is_of_a_full_disk(error):
                raise keras_tuner.errors.FatalRuntimeError(
                    f"There is no room left on the disk of {run.folder.project}. Make room, and start the "
                    "same program again: the search goes on where it was, with this trial anew."
                ) from error
            self._note_failure(run, hp, error, time.perf_counter() - begin)
            raise
        finally:
            self._built.pop(model, None)
        self._note(run, dataclasses.replace(record, seconds=time.perf_counter() - begin))
        return result

    # --- what they are made of

    def _built_model(self, hp: keras_tuner.HyperParameters) -> tuple[keras.Model, Stages]:
        keras.utils.set_random_seed(self.seed)
        fresh = not hp.space
        model = self.build_model(hp) if _takes_hyperparameters(self.build_model) else self.build_model()
        if not isinstance(model, keras.Model):
            raise keras_tuner.errors.FatalTypeError(
                f"build_model returned {model!r}, which is no Keras model but a {type(model).__name__}. Let "
                "it end with `return model`."
            )
        if taken := sorted({p.name for p in hp.space} & set(NAMES)) if fresh else []:
            raise keras_tuner.errors.FatalValueError(
                f"build_model declares {taken}, which FreezeDepthSearch declares itself. Leave them out, or "
                "name them otherwise."
            )
        stages = find_stages(model)
        if not model.compiled:
            model.compile(keras.optimizers.AdamW(1e-3), self.loss, metrics=_copies(self.metrics))
        return model, stages

    def _run(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, arguments: dict[str, Any], run: TrialRun
    ) -> tuple[Any, TrialRecord]:
        """Train, and say what came of it: what keras-tuner wants to have, and the trial's record."""
        if model.loss is None:
            loss, metrics = loss_for(model, targets_of(arguments))
            self.loss, self.metrics = loss, self.metrics or metrics  # also of models that are loaded later
            model.compile(model.optimizer, loss, metrics=_copies(self.metrics))
        stages = find_stages(model)
        arguments.setdefault("epochs", EPOCHS)
        self._check(run, arguments)
        execution = self._executions.get(run.key, 0)
        self._executions[run.key] = execution + 1
        if execution:  # of the same trial once more, which is built as it was before
            states = _keras.random_state(model)
            _keras.set_random_state(model, [[state[0] + execution, *state[1:]] for state in states])
        training = TrialTraining(
            run,
            stages,
            self.space.choose(hp, model, stages),
            before=self._built.get(model) or fingerprints(model),
            cache=self._share(run, stages, arguments),
            batch_norm=self.batch_norm,
            prune=self.prune,
            seed=self.seed + 1 + execution,
        )
        return training.train(arguments)

    def _check(self, run: TrialRun, arguments: Mapping[str, Any]) -> None:
        """Refuse, before anything trains, what can't come to a good end."""
        validates = arguments.get("validation_data") is not None or arguments.get("validation_split")
        if "val_" in f"{run.goal.name} {getattr(run.goal, 'name_to_direction', '')}" and not validates:
            raise keras_tuner.errors.FatalValueError(
                f"The objective {run.goal.name!r} needs validation data: search(..., validation_data=...)."
            )
        if isinstance(run.goal, ExportedAccuracy) and holdout_of(arguments.get("validation_data")) is None:
            raise keras_tuner.errors.FatalValueError(
                "ExportedAccuracy is measured on validation data, arrays (x, y) or a tf.data.Dataset: "
                "search(..., validation_data=...)."
            )
        if any(isinstance(callback, GradualUnfreezing) for callback in run.callbacks):
            raise keras_tuner.errors.FatalValueError(
                "FreezeDepthSearch brings a GradualUnfreezing of its own for each trial; leave yours out."
            )
        if run.folder is None or str(run.folder.project) in self._told:
            return
        identity = self._identity_of_model()
        identity |= {"data set": describe_data(arguments), "objective": str(run.goal)}
        if not run.halves:
            identity["number of epochs"] = arguments["epochs"]
        try:
            run.folder.check_identity(identity)
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from None
        self._told.add(str(run.folder.project))

    def _identity_of_model(self) -> dict[str, Any]:
        """The hyperparameters with the values that they can have, and the model: what no trial may change."""
        keras.backend.clear_session()  # so that the names of layers are those of a first build
        hp = keras_tuner.HyperParameters()
        model, stages = self._built_model(hp)
        self.space.choose(hp, model, stages)
        shapes = json.dumps([[list(v.shape), str(v.dtype)] for v in model.weights])
        values = "".join(fingerprints(model))
        settings = {f"{name} of FreezeDepthSearch": value for name, value in self.space.to_dict().items()}
        return {
            "search space": {p.name: [type(p).__name__, p.get_config()] for p in hp.space} | settings,
            "model": {
                "stages": stages.names,
                "parameters": model.count_params(),
                "shapes": hashlib.blake2b(shapes.encode(), digest_size=8).hexdigest(),
                "initial weights": hashlib.blake2b(values.encode(), digest_size=8).hexdigest(),
            },
            "seed": self.seed,
        }

    def _share(self, run: TrialRun, stages: Stages, arguments: Mapping[str, Any]) -> PrefixCache | None:
        """Make what trials share, or find it, and return a cache for this one."""
        if not self.share or run.folder is None:
            return None
        if any(isinstance(callback, PrefixCache) for callback in run.callbacks):
            return None
        depths = self.space.depths_of(stages)
        prepared = self._sharing.prepare(run.folder.shared, stages, depths, arguments, run.objective)
        if prepared.reason is not None:
            if prepared.reason not in self._told:
                logger.warning("Trials share no frozen work: %s", prepared.reason)
                self._told.add(prepared.reason)
            return None
        try:
            run.folder.check_identity({"content of the data set": prepared.data})
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from None
        return self._sharing.cache(run.folder.shared, self.seed)

    # --- when a trial has ended

    def _note(self, run: TrialRun, record: TrialRecord) -> None:
        if run.folder is None or run.own_folder is None:
            return
        if self._executions[run.key] > 1 and (before := read_trial(run.own_folder)) is not None:
            scores = [*before.scores, math.nan if record.score is None else record.score]
            record = dataclasses.replace(record, scores=scores, score=sum(scores) / len(scores))
        else:
            record = dataclasses.replace(record, scores=[math.nan if record.score is None else record.score])
        record.write(run.own_folder)
        run.folder.sweep(self.keep, run.goal.direction, record, parallel=not run.alone)
        run.folder.back_up()
        oracle: Any = getattr(run.tuner, "oracle", None)
        if self.budget is not None and time.perf_counter() - (self._begun or 0) > self.budget:
            if hasattr(oracle, "trials"):
                logger.info("The budget of %g s is used up: no further trial begins.", self.budget)
                oracle.max_trials = len(oracle.trials)
        if self.on_trial_end is not None:
            self.on_trial_end(record)

    def _note_failure(
        self, run: TrialRun, hp: keras_tuner.HyperParameters, error: Exception, seconds: float
    ) -> None:
        """Write down why a trial failed; end the search if none has ever succeeded.

        Raises:
            FatalRuntimeError: As many trials as may fail in a row have failed, and none has succeeded.
        """
        if run.folder is None or run.own_folder is None:
            return
        reason = (
            traceback.format_exc()
            if not isinstance(error, keras_tuner.errors.FailedTrialError)
            else str(error)
        )
        record = TrialRecord(
            str(run.trial.trial_id), run.values, str(hp.values.get("recipe", "")), status="failed",
            reason=reason, seconds=seconds,
        )  # fmt: skip
        record.write(run.own_folder)
        run.folder.back_up()
        if self.on_trial_end is not None:
            self.on_trial_end(record)
        records = read_trials(run.folder.project)
        failed = [r for r in records if r.status == "failed"]
        if len(failed) == 1:
            logger.error("Trial %s failed:\n%s", record.trial, reason)
        if len(failed) == len(records) >= run.most_failures:
            raise keras_tuner.errors.FatalRuntimeError(
                f"All {len(failed)} trials have failed. The first one, {failed[0].trial}, with:\n"
                f"{failed[0].reason}"
            ) from error

    # --- results

    def results(self, tuner: keras_tuner.Tuner | None = None) -> list[TrialRecord]:
        """The trials that have come to an end, failed ones included, in the order of their numbers.

        Args:
            tuner: The tuner; None: the one that has searched last in this process.

        Raises:
            ValueError: There is none.
        """
        return read_trials(SearchFolder(self._tuner_or(tuner).project_dir).project)

    def write_report(
        self, folder: str | os.PathLike[str], tuner: keras_tuner.Tuner | None = None
    ) -> list[Path]:
        """Write what the trials have come to.

        Args:
            folder: Where `trials.csv` goes (a row for each trial), `trials.json` (curves as well),
                `trials.png` (score and time against freeze depth; left out without matplotlib), and
                `tensorboard/` for TensorBoard's HParams tab. Those of an earlier report are replaced.
            tuner: The tuner; None: the one that has searched last in this process.

        Returns:
            The files, and the folder for TensorBoard.

        Raises:
            ValueError: There is no tuner, or no trial has come to a score.
        """
        tuner = self._tuner_or(tuner)
        records, objective, target = self.results(tuner), tuner.oracle.objective, Path(folder)
        if not any(r.score is not None for r in records):
            raise ValueError(f"No trial in {tuner.project_dir} has come to a score yet. Run search() first.")
        write_text(target / "trials.csv", to_csv(records))
        write_text(target / "trials.json", to_json(records))
        written = [target / "trials.csv", target / "trials.json", target / "tensorboard"]
        write_hparams(records, objective.name, target / "tensorboard")
        try:
            trials_by_depth(records, objective.name, target / "trials.png")
            written.append(target / "trials.png")
        except ImportError as error:
            logger.warning("%s", error)
        return written

    def best_model(self, tuner: keras_tuner.Tuner | None = None) -> keras.Model:
        """The model of the best trial at its best epoch, whole, with all its layers thawed as it was built.

        Args:
            tuner: The tuner; None: the one that has searched last in this process.

        Returns:
            A compiled model, which evaluates to the trial's score.

        Raises:
            ValueError: No search has run in this process, or no trial has come to a score.
        """
        tuner = self._tuner_or(tuner)
        if not any(r.score is not None for r in self.results(tuner)):
            raise ValueError(f"No trial in {tuner.project_dir} has come to a score yet. Run search() first.")
        model = without_checkpoint_loading(tuner.get_best_models(1)[0])
        model.optimizer.build(model.trainable_variables)  # so that a file of it is whole
        return model

    def _tuner_or(self, tuner: keras_tuner.Tuner | None) -> keras_tuner.Tuner:
        tuner = self.tuner if tuner is None else tuner
        if tuner is None:
            raise ValueError("No search has run in this process. Name the tuner: best_model(tuner).")
        folder = SearchFolder(tuner.project_dir)
        if str(folder.project) not in self._told and any(read_trials(folder.project)):
            # a search without a trial left to run has not looked
            folder.check_identity(self._identity_of_model())
            self._told.add(str(folder.project))
        return tuner
