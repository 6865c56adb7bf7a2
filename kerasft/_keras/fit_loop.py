"""What `model.fit` keeps to itself while it runs."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from typing import Any as LossScaleBase
    from typing import Any as OptimizerBase
else:
    LossScaleBase, OptimizerBase = keras.optimizers.LossScaleOptimizer, object


@dataclass(frozen=True)
class RunningFit:
    """What `model.fit` keeps to itself while it runs."""

    callbacks: list[Any]
    epoch_iterator: Any
    first_epoch: int


def running_fit(model: keras.Model) -> RunningFit | None:
    """The `fit` of `model` that calls from below us on the stack; None outside of one."""
    code = inspect.unwrap(keras.Model.fit).__code__
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is model:
            local = frame.f_locals
            callbacks = list(local["callbacks"].callbacks)
            return RunningFit(callbacks, local["epoch_iterator"], local["initial_epoch"])
        frame = frame.f_back
    return None


def build_for(model: keras.Model, epoch_iterator: Any) -> None:
    """Build a Sequential model that has no input yet for the data of a `fit`, as its first step would."""
    if isinstance(model, keras.Sequential) and not model.built:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(epoch_iterator._distributed_dataset.element_spec)
        if isinstance(x, tf.TensorSpec) and x.shape.rank is not None:
            model.build(tuple(x.shape))


def replay_epochs(model: keras.Model, epochs: int, read: bool = True) -> bool:
    """Let the data of a running `fit` pass by for `epochs` epochs without training, once.

    What comes next is then what would come in a run that had trained on them: in the same order, if the
    data are shuffled with a seed. `read=False` only notes that it shall not be done.

    Returns:
        Whether there is a `fit` whose data could be replayed.
    """
    fit = running_fit(model)
    if fit is None:
        return False
    iterator = fit.epoch_iterator
    already = getattr(iterator, "kerasft_replayed", 0)
    for _ in range(already, epochs if read else 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns when data end, of whatever length they are
            with iterator.catch_stop_iteration():
                for begin, end, batches in iterator:
                    for _ in range(begin, end + 1):
                        if next(batches, None) is None:
                            break
    iterator.kerasft_replayed = max(already, epochs)
    return True


def reads_arrays(epoch_iterator: Any) -> bool:
    """Whether the data of a `fit` are arrays, all of which come in each epoch."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    adapter = epoch_iterator.data_adapter
    return isinstance(adapter, ArrayDataAdapter) and epoch_iterator.num_batches == adapter.num_batches


def keeps_order(epoch_iterator: Any) -> bool:
    """Whether the data of a `fit` are arrays that are not shuffled."""
    return reads_arrays(epoch_iterator) and not epoch_iterator.data_adapter._shuffle


def validation_iterator(model: keras.Model) -> Any:
    """The iterator over the validation data of a running `fit`; None if there is none yet."""
    return getattr(model, "_eval_epoch_iterator", None)


def start_at(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` whose `on_train_begin` runs start at `epoch`; None takes that back for later fits."""
    model._initial_epoch = epoch or None
