"""The `model.fit` that is running: its callbacks, its data, and where it starts."""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from keras.src.callbacks.callback_list import CallbackList
    from keras.src.trainers.epoch_iterator import EpochIterator

# How many epochs of a fit's data have passed by without training, by the fit's iterator.
_REPLAYED: weakref.WeakKeyDictionary[EpochIterator, int] = weakref.WeakKeyDictionary()
# How many are to pass by before the first epoch begins, left to a callback that looks at them.
_WANTED: weakref.WeakKeyDictionary[EpochIterator, int] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class RunningFit:
    """A `model.fit` while it runs.

    Attributes:
        callbacks: Its callbacks, in order, those that Keras adds included.
        epoch_iterator: Keras's iterator over its training data.
        first_epoch: Its `initial_epoch` by then; in `on_train_begin` a callback may still move it.
        epochs: The epoch, from 0, before which it ends.
        callback_list: What calls the callbacks.
    """

    callbacks: Sequence[keras.callbacks.Callback]
    epoch_iterator: EpochIterator
    first_epoch: int
    epochs: int
    callback_list: CallbackList


def running_fit(model: keras.Model) -> RunningFit | None:
    """Find the `fit` of `model` that calls from below us on the stack; None outside of one.

    It is Keras's own function, or a copy of it, whatever is wrapped around it: experiment trackers put their
    functions in place of `keras.Model.fit`, and subclasses override it. What tells it is what it holds: the
    model, an iterator over epochs of data, and a list of callbacks.

    The stack is walked frame by frame: ask once in `on_train_begin`.
    """
    from keras.src.callbacks.callback_list import CallbackList
    from keras.src.trainers.epoch_iterator import EpochIterator

    frame = inspect.currentframe()
    while frame is not None:
        code = frame.f_code
        if "epoch_iterator" in (*code.co_varnames, *code.co_cellvars):
            local = frame.f_locals
            callbacks, iterator = local.get("callbacks"), local.get("epoch_iterator")
            if (
                isinstance(callbacks, CallbackList)
                and isinstance(iterator, EpochIterator)
                and local.get("self") is model
                and {"initial_epoch", "epochs"} <= local.keys()
            ):
                first, last = local["initial_epoch"], local["epochs"]
                return RunningFit(list(callbacks.callbacks), iterator, first, last, callbacks)
        frame = frame.f_back
    return None


def replace_callbacks(fit: RunningFit, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Let a fit call these callbacks, in this order, from its next hook on.

    The hook that runs, such as `on_train_begin`, still goes through those that there were.
    """
    fit.callback_list.callbacks = list(callbacks)


def after_train_begin(fit: RunningFit, call: Callable[[], None]) -> None:
    """Call a function when the `on_train_begin` of all callbacks of a fit, one of which runs, is over.

    For that a callback is put at the end of the fit's list.
    """

    class Last(keras.callbacks.Callback):
        display_only = True

        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
            call()

    fit.callback_list.callbacks.append(Last())  # the hook that runs goes through this very list


def build_for(model: keras.Model, epoch_iterator: EpochIterator) -> bool:
    """Build a model that is not built yet for the data of a `fit`, as its first step would, without a step.

    Returns:
        Whether all that the model calls is built. A model that can't be called on symbolic data, or has no
        `call`, stays as it is.
    """
    from keras.src import backend

    if all(layer.built for layer in model._flatten_layers()):
        return True
    x, _, _ = keras.utils.unpack_x_y_sample_weight(element_spec(epoch_iterator))
    if not all(isinstance(spec, tf.TensorSpec) for spec in keras.tree.flatten(x)):
        return False
    inputs = keras.tree.map_structure(lambda spec: keras.KerasTensor(spec.shape, spec.dtype.name), x)
    built = model.built
    with model.distribute_strategy.scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says at length that it could not build the model
        try:
            backend.compute_output_spec(model, inputs, training=False)
        except Exception:  # of a user's layers: any kind
            model.built = built  # Keras has called it built all the same
            return False
    return True


def replay_epochs(fit: RunningFit | None, epochs: int, read: bool = True) -> bool:
    """Let the data of a fit pass by for `epochs` epochs without training, once.

    The next data are then those that a run would get that had trained on the epochs: in the same order, if
    the data are shuffled with a seed. If a callback of the fit has an attribute `reads_replay`, the epochs
    are left to it: it looks at the data, with `pending_replay` and `pass_epoch`, before the first epoch.

    Args:
        fit: The result of `running_fit`.
        epochs: How many epochs the run has done before.
        read: False notes that these epochs are done with, and reads nothing.

    Returns:
        Whether there is a `fit` whose data could be replayed.
    """
    if fit is None:
        return False
    iterator = fit.epoch_iterator
    if not read:
        _REPLAYED[iterator] = max(_REPLAYED.get(iterator, 0), epochs)
    elif any(getattr(callback, "reads_replay", False) for callback in fit.callbacks):
        _WANTED[iterator] = max(_WANTED.get(iterator, 0), epochs)
    else:
        for epoch in pending_replay(fit, epochs):
            pass_epoch(fit, epoch)
    return True


def pending_replay(fit: RunningFit, epochs: int = 0) -> range:
    """The epochs whose data are still to pass by: `epochs`, or more if `replay_epochs` was asked for more."""
    iterator = fit.epoch_iterator
    return range(_REPLAYED.get(iterator, 0), max(epochs, _WANTED.get(iterator, 0)))


def pass_epoch(
    fit: RunningFit, epoch: int, look: Callable[[Any], object] | None = None, most: int | None = None
) -> None:
    """Let the data of one epoch pass by without training.

    Args:
        fit: The result of `running_fit`.
        epoch: The next epoch of `pending_replay`.
        look: Is called with each batch.
        most: How many batches are read, at the epoch's first step; None reads one for each step.
    """
    iterator = fit.epoch_iterator
    _REPLAYED[iterator] = epoch + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns when data end, of whatever length they are
        with iterator.catch_stop_iteration():
            for begin, end, batches in iterator:
                steps = range(begin, end + 1)
                if most is not None:
                    steps = range(begin, begin + most if begin == 0 else begin)
                for step in steps:
                    batch = next(batches, None)
                    if batch is None and step == begin:
                        raise StopIteration  # as a training step does that finds no data
                    if batch is None:
                        break
                    if look is not None:
                        look(batch)


def element_spec(epoch_iterator: EpochIterator) -> Any:
    """The specification of the batches of a `fit`."""
    return epoch_iterator._distributed_dataset.element_spec


def reads_arrays(epoch_iterator: EpochIterator) -> bool:
    """Whether the data of a `fit` are arrays, all of which come in each epoch."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    adapter = epoch_iterator.data_adapter
    return isinstance(adapter, ArrayDataAdapter) and epoch_iterator.num_batches == adapter.num_batches


def keeps_order(epoch_iterator: EpochIterator) -> bool:
    """Whether the data of a `fit` are arrays that are not shuffled."""
    return reads_arrays(epoch_iterator) and not epoch_iterator.data_adapter._shuffle


def goes_on(epoch_iterator: EpochIterator) -> bool:
    """Whether an epoch of a `fit` begins in the data where the one before it has stopped reading."""
    return epoch_iterator.steps_per_epoch is not None


def validation_iterator(model: keras.Model) -> EpochIterator | None:
    """Find the iterator over the validation data of a running `fit`; None if there is none yet."""
    return getattr(model, "_eval_epoch_iterator", None)


def start_at(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` whose `on_train_begin` runs start at `epoch`; None undoes this for later fits."""
    model._initial_epoch = epoch or None
