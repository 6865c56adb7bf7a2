"""What the other callbacks of a fit want to see between steps."""

from __future__ import annotations

import keras


def _looks_between(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has something to do between two steps, beyond showing how far they are."""
    shown = (keras.callbacks.ProgbarLogger, keras.callbacks.History, keras.callbacks.TerminateOnNaN)
    if isinstance(callback, shown) or getattr(callback, "display_only", False):
        return False
    if type(callback) in (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore):
        return callback.save_freq != "epoch"
    if type(callback) is keras.callbacks.TensorBoard:
        return callback.update_freq != "epoch"
    plain = keras.callbacks.Callback
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(getattr(getattr(callback, h), "__func__", None) is not getattr(plain, h) for h in hooks)
