"""FreezeDepthSearch: a keras_tuner.HyperModel that searches how deep to unfreeze, and how to get there."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner import HyperParameters, Tuner

from kerasft import _keras
from kerasft.arguments import check_integer, check_number
from kerasft.cache import PrefixCache
from kerasft.freezing import (
    BatchNormPolicy,
    DropoutPolicy,
    check_batch_norm,
    check_dropout,
    check_keep_frozen,
    set_depth,
)
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.search.build import built_model, check_build_model, compile_with
from kerasft.search.failures import note_failure
from kerasft.search.loss import Guess, guess_for, read_guess, write_guess
from kerasft.search.preflight import Preflight
from kerasft.search.process_state import ProcessState, flags_as_built
from kerasft.search.results import TrialRecord
from kerasft.search.search_call import watch_searches
from kerasft.search.shared_work import Sharing
from kerasft.search.space import (
    Choice,
    Range,
    SearchSpace,
    apply,
    optimizer_of,
)
from kerasft.search.trial import (
    TrialContext,
    TrialTraining,
    with_checkpoint_loading,
    without_checkpoint_loading,
)
from kerasft.search.tuned_models import EPOCHS, TunedModels, fit_arguments
from kerasft.stages import Stages, find_stages
from kerasft.unfreezing import Recipe

logger = logging.getLogger(__name__)


class FreezeDepthSearch(TunedModels, keras_tuner.HyperModel):
    """Search how deep to unfreeze a model, and how to get there, with any of keras-tuner's tuners.

    Each trial builds your model, freezes it, and unfreezes it down to a freeze depth by a recipe. The search
    varies depth and recipe, the base learning rate, layer-wise decay, weight decay, the dropout of the head,
    and whatever your own `build_model(hp)` adds.

    Trials share frozen work: before the first one the head alone trains over the frozen backbone, which
    records what the frozen layers give at every depth; trials begin from those records, and with that head. A
    trial that is unlikely to become the best is stopped. A checkpoint holds what training has changed.

    A search that was killed goes on when the same program is started again (keras-tuner's `overwrite=False`),
    and loses the running trial at most. Another space, model or data set is refused.

    Args:
        build_model: A function of keras-tuner's `hp`, or of nothing, that returns a model: compiled, or not.
            Its optimizer is used as it is, but for rate, weight decay and multipliers; without one it is
            AdamW.
        depths: Freeze depths or stages' names to choose from; None: all but the head's.
        recipes: Some of "frozen_head", "head_then_all", "one_stage_at_a_time" and
            "linear_probe_then_finetune"; None: all.
        learning_rate: Base rate: a range (low, high), a list to choose from, a number, or None to leave it.
        share: Whether trials share frozen work.
        budget: Seconds after which no new trial starts; None for no limit.
        layerwise_decay: Factor of the rate from a stage to the one below it, given like `learning_rate`.
        weight_decay: Weight decay, for optimizers that have one: a range, a list, a number or None.
        dropout: Rate of the dropout layers after the backbone: a range, a list, a number or None.
        batch_norm: As in `kerasft.freeze`.
        frozen_dropout: What draws random numbers in frozen stages: `dropout` of `kerasft.freeze`.
        keep_frozen: Layers that stay frozen in every trial, as in `kerasft.freeze`.
        loss: For models that are not compiled. None: the one that fits the values of the targets and the
            measured range of the output; the log says which, and it is stored with the search.
        metrics: Metrics for models that are not compiled; None: those that go with the loss.
        warm_start: Whether trials begin with the head that was trained first; needs `share`.
        prune: Whether a trial is stopped once no gain of a trial like it, at least three epochs after its
            last thaw, would make it the best (never with Hyperband, which stops trials itself).
        keep: How many of the best trials' checkpoints stay, and those of trials that are as good as the last
            of them; as many models `tuner.get_best_models` can give.
        max_bytes: The cap of the records on disk; None: a quarter of what is free.
        seed: Of weights, order and dropout in each trial. (For the tuner's own seed 0 means none.)

    Attributes:
        tuner: The tuner that searched last in this process; else None.
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
        frozen_dropout: DropoutPolicy | None = None,
        keep_frozen: Sequence[str] = (),
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        warm_start: bool = True,
        prune: bool = True,
        keep: int = 1,
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        watch_searches()
        check_build_model(build_model)
        check_integer("keep", keep, at_least=1)
        if budget is not None and budget != math.inf:
            check_number("budget", budget, above=0)
        check_batch_norm(batch_norm)
        check_dropout(frozen_dropout)
        check_keep_frozen(keep_frozen)
        self.build_model = build_model
        self.space = SearchSpace(depths, recipes, learning_rate, layerwise_decay, weight_decay, dropout)
        self.share, self.budget, self.keep_frozen = share, budget, keep_frozen
        self.batch_norm, self.frozen_dropout = batch_norm, frozen_dropout
        self.loss, self.metrics, self.prune, self.keep, self.seed = loss, metrics, prune, keep, int(seed)
        self._sharing = Sharing(warm_start, max_bytes, self.seed, frozen_dropout)
        self._preflight = Preflight(self._model_and_stages, self.space, self.seed)
        self._process = ProcessState()
        self._guess: Guess | None = None
        self.tuner: Tuner | None = None
        self.on_trial_end: Callable[[TrialRecord], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "tuner": None, "on_trial_end": None, "_guess": None}  # they belong to a process

    def become_worker(self) -> None:
        """Leave `budget` and `on_trial_end` to the process that this copy of the search was sent from."""
        self.budget = self.on_trial_end = None

    # --- keras-tuner's two methods

    def build(self, hp: HyperParameters) -> keras.Model:
        """Build a trial's model, and declare what is searched; keras-tuner calls it.

        The model is what the trial's recipe ends with: frozen up to its freeze depth, with the learning rate
        and the multipliers of the last phase. Plain `fit` trains it so from the first epoch on;
        `callbacks(hp)` takes it through the whole recipe. (The head that trials begin with is no part of it.)

        Args:
            hp: The trial's hyperparameters.

        Returns:
            A compiled model; without a loss if `build_model` gives none and no trial has begun.

        Raises:
            FatalTypeError: `build_model` returned something else than a Keras model.
            ValueError: The model has no stages, or not a depth that was asked for.
        """
        model, stages = self._model_and_stages(hp)
        choice = self.space.choose(hp, model, stages)
        apply(choice, model, stages)
        self._process.note_built(model, hp.values)
        last = self._schedule(choice, stages, 2).phases[-1]
        set_depth(stages, stages.depth(last.depth), self.batch_norm, self.frozen_dropout)
        if choice.decay is not None:
            with_lr_multipliers(model.optimizer, layerwise_decay(stages, choice.decay), model=model)
        if last.learning_rate is not None:
            optimizer_of(model).learning_rate = last.learning_rate
        before = hp.values.get("tuner/trial_id")
        return with_checkpoint_loading(model, skip=before and f"trial_{before}")

    def fit(self, hp: HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
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
            FatalRuntimeError: The disk is full, or all trials so far have failed; with the first traceback.
        """
        arguments = fit_arguments(*args, **kwargs)
        context = TrialContext.of(arguments.pop("callbacks", None), arguments)
        if context.tuner is not None:
            self.attach(context.tuner)
        flags_as_built(without_checkpoint_loading(model))
        self._process.fits += 1
        began = self._process.elapsed()
        try:
            with _keras.release_traced_steps():
                result, record = self._run(hp, model, arguments, context)
        except keras_tuner.errors.FatalError:
            raise
        except Exception as error:
            if self._guess is not None and self._guess.contradiction in str(error):
                raise keras_tuner.errors.FatalValueError(self._guess.contradiction) from None
            recipe, seconds = str(hp.values.get("recipe", "")), self._process.elapsed() - began
            note_failure(context, recipe, error, seconds, self.on_trial_end)
            raise
        self._end(context, dataclasses.replace(record, seconds=self._process.elapsed() - began))
        return result

    def _model_and_stages(self, hp: HyperParameters) -> tuple[keras.Model, Stages]:
        return built_model(self.build_model, hp, self.seed, self._compile, self.keep_frozen)

    def _compile(self, model: keras.Model) -> None:
        """Compile a model that its author did not compile, without a loss while none is known."""
        self._process.note_not_compiled(model)
        loss, metrics = self.loss, self.metrics
        if loss is None and (guess := self._known_guess()) is not None:
            loss, metrics = guess.loss, guess.metrics if metrics is None else metrics
        compile_with(model, loss, metrics)

    def _find_loss(self, model: keras.Model, given: dict[str, Any], context: TrialContext) -> None:
        """Compile a model that its author did not compile with the loss that its data and output ask for."""
        if self._process.was_compiled(model) or self.loss is not None:
            return
        if model.loss is not None and (self._guess is None or model.loss is not self._guess.loss):
            return  # it is the tuner's
        shared = None if context.folder is None else context.folder.shared
        try:
            guess = None if shared is None else read_guess(shared)
            if guess is None:
                guess = guess_for(model, given)
                logger.warning("The loss is guessed: %s, by %s.", guess.loss.name, guess.evidence)
                if shared is not None:
                    write_guess(shared, guess)
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from None
        self._guess = guess
        compile_with(model, guess.checked(), guess.metrics if self.metrics is None else self.metrics)

    def _prepare(
        self, hp: HyperParameters, model: keras.Model, given: dict[str, Any], context: TrialContext
    ) -> tuple[Stages, Choice]:
        """Find the loss, and refuse another search, before anything trains."""
        self._find_loss(model, given, context)
        stages = find_stages(model)
        given.setdefault("epochs", EPOCHS)
        self._preflight.check(context, given)
        choice = self.space.choose(hp, model, stages)
        apply(choice, model, stages)  # its rate is that of the first phase again
        return stages, choice

    def _share(self, stages: Stages, given: dict[str, Any], context: TrialContext) -> PrefixCache | None:
        """The frozen work that trials share, which refuses other content of the data."""
        if not self.share:
            return None
        return self._sharing.for_trial(context, stages, self.space.depths_of(stages), given)

    def _run(
        self, hp: HyperParameters, model: keras.Model, given: dict[str, Any], context: TrialContext
    ) -> tuple[Any, TrialRecord]:
        """Train, and return what keras-tuner expects, and the trial's result record."""
        before = self._process.weights_as_built(model)
        stages, choice = self._prepare(hp, model, given, context)
        cache = self._share(stages, given, context)
        seed = self.seed + 1 + self._process.begin_execution(context, model)
        policies = self.batch_norm, self.frozen_dropout, self.keep_frozen
        return TrialTraining(context, stages, choice, before, cache, *policies, self.prune, seed).train(given)

    def _end(self, context: TrialContext, record: TrialRecord) -> None:
        """Write down a trial that has ended; end the search if its budget is used up."""
        if context.folder is None:
            return
        record = context.end(record, self.keep, is_repeated=self._process.is_repeated(context))
        if self.budget is not None and self._process.elapsed() > self.budget:
            logger.info("The budget of %g s is used up: no new trial starts.", self.budget)
            context.end_search()
        if self.on_trial_end is not None:
            self.on_trial_end(record)
