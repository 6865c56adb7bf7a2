"""BackupAndRestore: a run that was killed goes on to the weights of the run that was not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kerasft import _keras
from kerasft.files import replacing
from kerasft.identity import as_stored, require_same
from kerasft.typing import Logs

logger = logging.getLogger(__name__)

_LORA = "kerasft_lora"  # a group in the file of weights

_EARLIER = {"epoch", "bytes", "sha256", "identity", "random"}  # what manifests without a checksum say


class BackupAndRestore(keras.callbacks.Callback):
    """Save a run after each epoch, and resume it from there, exactly.

    Like `keras.callbacks.BackupAndRestore`, and beyond it: weights, optimizer, epoch, where
    `GradualUnfreezing` stands and what decides the order of the data in a `PrefixCache` are one backup that
    is either whole or not there. Checksums are tested before a backup is used, and the one before it takes
    its place if it is damaged. A run with another model or
    optimizer is refused: a model is the same if its layers, their settings and connections, and the shapes
    and dtypes of its weights are, in order, whatever the names are. The data of the epochs that are over are
    read again, without training, so that a seeded shuffle goes on in the same order.

    A model that is not built yet is built from the shapes of the data when `fit` begins.

    Put it after `GradualUnfreezing`. The program that is started again must build the same model and the
    same data with the same seeds (`keras.utils.set_random_seed`).

    Args:
        backup_dir: Folder for the backups: the last two are kept.
        delete_checkpoint: Whether to delete them when `fit` ends.
        replay_data: Whether to read the data of past epochs again. Without it, resuming takes no time, and
            the order of shuffled data differs from that of the run that was not killed.

    Raises:
        TypeError: `backup_dir` is no path.
        ValueError: `backup_dir` is empty. When `fit` begins: the backup is of another model or optimizer,
            none of the backups is whole, or the model is not built and can't be.

    Example:
        >>> callbacks = [BackupAndRestore("backup")]
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        delete_checkpoint: bool = True,
        replay_data: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(backup_dir, str | os.PathLike):
            raise TypeError(f"backup_dir is the path of a folder, not {backup_dir!r}.")
        if not os.fspath(backup_dir):
            raise ValueError("backup_dir is empty; name a folder for the backups.")
        self.backup_dir = Path(backup_dir)
        self.delete_checkpoint = delete_checkpoint
        self.replay_data = replay_data
        self._fit: _keras.RunningFit | None = None
        self._identity: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the settings; the model and the fit belong to the original."""
        return {**vars(self), "_model": None, "_fit": None}

    def on_train_begin(self, logs: Logs = None) -> None:
        """Restore the newest backup that is whole."""
        self._fit = _keras.running_fit(self.model)
        if self.backup_dir.is_file():
            raise ValueError(f"backup_dir is a folder, but {self.backup_dir} is a file.")
        self._build()
        self._identity = self._describe()
        manifests = sorted(self.backup_dir.glob("epoch-*.json"), reverse=True)
        for path in manifests:
            manifest = _whole(path)
            if manifest is None:
                logger.warning(
                    "The backup %s was cut short or damaged; the one before it is used.", path.stem
                )
                continue
            self._check_identity(manifest["identity"])
            self._restore(path, manifest)
            return
        if manifests:
            raise ValueError(
                f"None of the {len(manifests)} backups in {self.backup_dir} is whole. To begin again, delete "
                "that folder or name another one."
            )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Let later fits of the model begin where they are told to."""
        _keras.start_at(self.model, None)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save."""
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        name = _name(epoch + 1)
        callbacks = () if self._fit is None else self._fit.callbacks
        weights = self.backup_dir / f"{name}.weights.h5"
        with replacing(weights, overwrite=True, durable=True) as partial:
            with _keras.trained_weights(self.model, callbacks):
                self.model.save_weights(partial)
                _add_lora(partial, _keras.lora_values(self.model))
            content = {
                "epoch": epoch + 1,
                "bytes": partial.stat().st_size,
                "sha256": _sha256(partial),
                "identity": self._identity or self._describe(),
                "random": _keras.random_state(self.model),
                "callbacks": self._states(),
                "fit": self._describe_fit(),
            }
        # from here on there is a backup: the manifest appears, whole, when the weights are on disk
        with replacing(self.backup_dir / f"{name}.json", overwrite=True, durable=True) as partial:
            content = as_stored(content)
            partial.write_text(json.dumps({**content, "checksum": _checksum(content)}, indent=1))
        kept = {path.stem for path in sorted(self.backup_dir.glob("epoch-*.json"))[-2:]}
        self._delete(keep=kept)

    def on_train_end(self, logs: Logs = None) -> None:
        """Delete the backups, and the folder if nothing else is in it."""
        self._fit = None
        _keras.start_at(self.model, None)
        if self.delete_checkpoint and self.backup_dir.is_dir():
            self._delete(keep=set())
            if not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()

    def _delete(self, keep: set[str]) -> None:
        for path in [*self.backup_dir.glob("epoch-*.*"), *self.backup_dir.glob(".epoch-*.*")]:
            if path.name.split(".")[0] not in keep:
                path.unlink(missing_ok=True)

    def _restore(self, path: Path, manifest: dict[str, Any]) -> None:
        epoch = int(manifest["epoch"])
        then, now = manifest.get("fit", {}), self._describe_fit()
        known = [name for name in then if None not in (then[name], now.get(name))]
        for name in [name for name in known if then[name] != now[name]]:
            logger.warning(
                "The fit that goes on from %s differs from the one that was killed, so it will not end at "
                "the same weights: %s were %s and are %s.",
                path.stem,
                name,
                then[name],
                now[name],
            )
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        weights = path.with_name(f"{path.stem}.weights.h5")
        self.model.load_weights(weights)
        _keras.set_lora_values(self.model, _lora_of(weights))
        _keras.set_random_state(self.model, manifest["random"])
        _keras.start_at(self.model, epoch)
        for name, callback in self._with_state().items():
            callback.restore_backup(manifest.get("callbacks", {}).get(name))
        # where nothing is left to train, no data are needed
        read = self.replay_data and (self._fit is None or epoch < self._fit.epochs)
        if not _keras.replay_epochs(self._fit, epoch, read=read):
            logger.warning("The order of the data could not be replayed; it differs from the killed run's.")
        logger.info("Restored %s: training goes on at epoch %d.", path.stem, epoch)

    def _build(self) -> None:
        """Build the model as its first step would: weights can't be loaded into one that is not built."""
        if self._fit is not None and _keras.build_for(self.model, self._fit.epoch_iterator):
            return
        if not self.model.built or not self.model.weights:
            raise ValueError(
                "The model is not built, and it could not be built from the shapes of the data, so a backup "
                "of it could never be restored. Call it on a batch before `fit`, model(x), or give it a "
                f"`build` that builds its layers{_listed(_keras.unbuilt(self.model))}."
            )

    def _with_state(self) -> dict[str, Any]:
        """The other callbacks of the fit that have something to store, by the names of their classes."""
        callbacks = [] if self._fit is None else self._fit.callbacks
        return {type(c).__name__: c for c in callbacks if hasattr(c, "backup_state")}

    def _states(self) -> dict[str, Any]:
        return {name: callback.backup_state() for name, callback in self._with_state().items()}

    def _describe_fit(self) -> dict[str, Any]:
        """What a fit does beside its model, for JSON: its data, as far as is known without reading them."""
        if self._fit is None:
            return {}
        iterator = self._fit.epoch_iterator
        bases = (base for c in self._fit.callbacks for base in type(c).__mro__)  # a user's subclass counts
        own = {base.__name__ for base in bases if base.__module__.startswith("kerasft.")}
        return {
            "kerasft's callbacks": sorted(own),
            "steps of an epoch": iterator.num_batches,  # None before they have been counted
            "batches": str(_keras.element_spec(iterator)),
        }

    def _describe(self) -> dict[str, Any]:
        """The identity of a run, for JSON."""
        return as_stored(
            {
                "model": [[v.path, list(v.shape), str(v.dtype)] for v in self.model.weights],
                "layers": _keras.structure(self.model),
                "keras": keras.__version__,  # another one may write settings otherwise
                "optimizer": _keras.description(self.model.optimizer),
            }
        )

    def _check_identity(self, then: dict[str, Any]) -> None:
        now = self._identity
        begun = f"The backup in {self.backup_dir} was written"
        difference = _other_weights(then["model"], now["model"])
        if difference is None and then.get("keras") == now["keras"]:
            difference = _other_layers(then["layers"], now["layers"])
        if difference is not None:
            raise ValueError(
                f"{begun} with another model: {difference}. Use the model that was saved, or another folder."
            )
        had, has = then["optimizer"], now["optimizer"]
        if had["class"] != has["class"]:  # whose settings have other names
            had, has = {"class": had["class"]}, {"class": has["class"]}
        had, has = ({"optimizer": {n: v for n, v in o.items() if v is not None}} for o in (had, has))
        require_same(had, has, begun, "Use the optimizer that was saved, or another folder.")


def _add_lora(weights: Path, values: Sequence[np.ndarray]) -> None:
    """Add to a file of weights what Keras merges there: a LoRA layer's kernel and its two factors."""
    if values:
        with h5py.File(weights, "a") as file:
            for index, value in enumerate(values):
                file[f"{_LORA}/{index}"] = value


def _lora_of(weights: Path) -> list[np.ndarray]:
    """What `_add_lora` added."""
    with h5py.File(weights, "r") as file:
        return [np.asarray(file[f"{_LORA}/{index}"]) for index in range(len(file.get(_LORA, ())))]


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''})" if names else ""


def _other_weights(then: Sequence[Any], now: Sequence[Any]) -> str | None:
    """How weights differ that are described by path, shape and dtype; None if only their paths do."""
    for number, (had, has) in enumerate(zip(then, now, strict=False)):
        if had[1:] != has[1:]:
            was, is_ = (f"{path!r} {tuple(shape)} {dtype}" for path, shape, dtype in (had, has))
            return f"its weight {number}, from 0, was {was} and is {is_}"
    return None if len(then) == len(now) else f"it had {len(then)} weights and has {len(now)}"


def _other_layers(then: Sequence[Any], now: Sequence[Any]) -> str | None:
    """How layers differ that are described by class, name and digest; None if only their names do."""
    for number, (had, has) in enumerate(zip(then, now, strict=False)):
        if had[0] != has[0]:
            return f"its layer {number}, from 0, was the {had[0]} {had[1]!r} and is the {has[0]} {has[1]!r}"
        if had[2] != has[2]:
            return f"its layer {number}, from 0, the {has[0]} {has[1]!r}, had other settings or inputs"
    return None if len(then) == len(now) else f"it had {len(then)} layers and has {len(now)}"


def _whole(manifest: Path) -> dict[str, Any] | None:
    """The content of a manifest; None unless it and its weights are as they were written."""
    weights = manifest.with_name(f"{manifest.stem}.weights.h5")
    try:
        content = json.loads(manifest.read_text())
        checksum = content.pop("checksum", None)
        # an earlier version wrote no checksum; the name of the file tells the epoch as well
        intact = set(content) == _EARLIER if checksum is None else checksum == _checksum(content)
        intact = intact and manifest.stem == _name(content["epoch"])
        same = weights.stat().st_size == content["bytes"] and _sha256(weights) == content["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return content if intact and same else None


def _name(epochs: int) -> str:
    """The name, without its end, of the files of a backup after some epochs."""
    return f"epoch-{epochs:05d}"


def _checksum(content: Mapping[str, Any]) -> str:
    """A checksum of what a manifest says."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
