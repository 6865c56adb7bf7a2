"""BackupAndRestore: a run that was killed goes on to the weights of the run that was not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import keras

from kerasft import _keras
from kerasft.files import replacing
from kerasft.identity import as_stored, require_same
from kerasft.typing import Logs

logger = logging.getLogger(__name__)


class BackupAndRestore(keras.callbacks.Callback):
    """Save a run after each epoch, and resume it from there, exactly.

    Like `keras.callbacks.BackupAndRestore`, and beyond it: weights, optimizer, epoch, where
    `GradualUnfreezing` stands and what decides the order of the data in a `PrefixCache` are one backup that
    is either whole or not there; its checksum is tested before it is used, and the backup before it takes its
    place if it was cut short. A run with another model or optimizer is refused. The data of the epochs that
    are over are read again, without training, so that a seeded shuffle goes on in the same order.

    Put it after `GradualUnfreezing`. The program that is started again must build the same model and the
    same data with the same seeds (`keras.utils.set_random_seed`).

    Args:
        backup_dir: Folder for the backups: the last two are kept.
        delete_checkpoint: Whether to delete them when `fit` ends.
        replay_data: Whether to read the data of past epochs again. Without it, resuming takes no time, and
            the order of shuffled data differs from that of the run that was not killed.

    Raises:
        ValueError: `backup_dir` is empty. When `fit` begins: the backup is of another model or
            optimizer, or none of the backups is whole.

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
        if not os.fspath(backup_dir):
            raise ValueError("backup_dir is empty; name a folder for the backups.")
        self.backup_dir = Path(backup_dir)
        self.delete_checkpoint = delete_checkpoint
        self.replay_data = replay_data
        self._fit: _keras.RunningFit | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Restore the newest backup that is whole."""
        self._fit = _keras.running_fit(self.model)
        if self.backup_dir.is_file():
            raise ValueError(f"backup_dir is a folder, but {self.backup_dir} is a file.")
        manifests = sorted(self.backup_dir.glob("epoch-*.json"), reverse=True)
        for path in manifests:
            manifest = _whole(path)
            if manifest is None:
                logger.warning("The backup %s was cut short; the one before it is used.", path.stem)
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
        name = f"epoch-{epoch + 1:05d}"
        with replacing(self.backup_dir / f"{name}.weights.h5", overwrite=True, durable=True) as partial:
            self.model.save_weights(partial)
            content = {
                "epoch": epoch + 1,
                "bytes": partial.stat().st_size,
                "sha256": _sha256(partial),
                "identity": self._identity(),
                "random": _keras.random_state(self.model),
                "callbacks": self._states(),
            }
        # from here on there is a backup: the manifest appears, whole, when the weights are on disk
        with replacing(self.backup_dir / f"{name}.json", overwrite=True, durable=True) as partial:
            partial.write_text(json.dumps(content, indent=1, default=str))
        kept = {path.stem for path in sorted(self.backup_dir.glob("epoch-*.json"))[-2:]}
        self._delete(keep=kept)

    def on_train_end(self, logs: Logs = None) -> None:
        """Delete the backups, and the folder if nothing else is in it."""
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
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(path.with_name(f"{path.stem}.weights.h5"))
        _keras.set_random_state(self.model, manifest["random"])
        _keras.start_at(self.model, epoch)
        for name, callback in self._with_state().items():
            callback.restore_backup(manifest.get("callbacks", {}).get(name))
        if not _keras.replay_epochs(self._fit, epoch, read=self.replay_data):
            logger.warning("The order of the data could not be replayed; it differs from the killed run's.")
        logger.info("Restored %s: training goes on at epoch %d.", path.stem, epoch)

    def _with_state(self) -> dict[str, Any]:
        """The other callbacks of the fit that have something to store, by the names of their classes."""
        callbacks = [] if self._fit is None else self._fit.callbacks
        return {type(c).__name__: c for c in callbacks if hasattr(c, "backup_state")}

    def _states(self) -> dict[str, Any]:
        return {name: callback.backup_state() for name, callback in self._with_state().items()}

    def _identity(self) -> dict[str, Any]:
        return {
            "model": [[v.path, list(v.shape), str(v.dtype)] for v in self.model.weights],
            "optimizer": _keras.description(self.model.optimizer),
        }

    def _check_identity(self, then: dict[str, Any]) -> None:
        now = as_stored(self._identity())
        begun = f"The backup in {self.backup_dir} was written"
        if now["model"] != then["model"]:
            different = [str(a[0]) for a in then["model"] if a not in now["model"]][:3]
            different += [str(a[0]) for a in now["model"] if a not in then["model"]][:3]
            raise ValueError(
                f"{begun} with another model: the weights {different} are in one alone, or differ in shape. "
                "Use the model that was saved, or another folder."
            )
        had, has = then["optimizer"], now["optimizer"]
        if had["class"] != has["class"]:  # whose settings have other names
            had, has = {"class": had["class"]}, {"class": has["class"]}
        had, has = ({"optimizer": {n: v for n, v in o.items() if v is not None}} for o in (had, has))
        require_same(had, has, begun, "Use the optimizer that was saved, or another folder.")


def _whole(manifest: Path) -> dict[str, Any] | None:
    """The content of a manifest; None unless its weights are as it says they are."""
    weights = manifest.with_name(f"{manifest.stem}.weights.h5")
    try:
        content = json.loads(manifest.read_text())
        same = weights.stat().st_size == content["bytes"] and _sha256(weights) == content["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if same else None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
