"""The state of an optimizer by the names of its variables, in memory and in files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np

from kerasft._keras.optimizer.settings import as_number
from kerasft._keras.optimizer.slots import slots_and_scalars

# A mixin calls methods of the optimizer's class beside it, which no type checker sees.
OptimizerBase: Any = object
Arrays: TypeAlias = Mapping[str, Any]
Store: TypeAlias = MutableMapping[str, Any]
Value = TypeVar("Value")


@dataclass
class FileState:
    """State that an optimizer keeps for the files that it writes and reads.

    Attributes:
        companion: Gives arrays to be saved with the optimizer's own.
        loaded: The arrays that a companion gave for the file that was loaded last.
        unclaimed: Loaded state of variables that the optimizer is not built for yet, by name and path.
        excluded: Loaded paths of variables without weight decay, which Keras needs before it builds.
    """

    companion: Callable[[], Arrays] | None = None
    loaded: dict[str, np.ndarray] = field(default_factory=dict)
    unclaimed: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)


class NamedState(OptimizerBase):
    """Mixin over an optimizer's class: state that is saved by name.

    Keras saves it by position, where a model that was saved with other layers frozen does not find its own.
    """

    _file_state: FileState

    def snapshot(self, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
        """Copy slots and step counts of `variables`, averages included, accumulated gradients left out."""
        paths = self._paths()
        wanted = {paths[self._get_variable_index(v)] for v in variables}
        taken = {
            f"{name}:{path}": entry.numpy()
            for name, entries in self.slots().items()
            for path, entry in entries.items()
            if path in wanted and name != "_accumulated_gradients"
        }
        for name, vector in self._vectors().items():
            values = zip(paths, vector.numpy(), strict=True)
            taken |= {f"{name}:{path}": value for path, value in values if path in wanted}
        return taken

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Put back what `snapshot` took."""
        slots, paths = self.slots(), self._paths()
        with self._editing_vectors() as vectors:
            for key, value in snapshot.items():
                name, _, path = key.partition(":")
                if name in vectors:
                    vectors[name][paths.index(path)] = value
                else:
                    slots[name][path].assign(value)

    def attach(self, companion: Callable[[], Arrays] | None) -> None:
        """Save the arrays that `companion` returns together with the optimizer's state; None ends that."""
        self._file_state.companion = companion
        self._file_state.loaded = {}

    def loaded(self) -> dict[str, np.ndarray]:
        """The arrays of a companion in the file that was loaded last."""
        return self._file_state.loaded

    def slots(self) -> dict[str, dict[str, keras.Variable]]:
        """State of each variable, by attribute and by path."""
        paths = self._paths()
        return {
            name: {path: entry for path, entry in zip(paths, entries, strict=True) if entry is not None}
            for name, entries in slots_and_scalars(self)[0].items()
        }

    def scalars(self) -> dict[str, keras.Variable]:
        """State of the optimizer as a whole; `other…` is what has no attribute of its own."""
        slots, scalars = slots_and_scalars(self)
        vectors = [*self._vectors().values(), *self._unsaved_vectors()]
        own = {k: v for k, v in scalars.items() if not any(v is vector for vector in vectors)}
        known = [*own.values(), *vectors, *(v for entries in slots.values() for v in entries)]
        others = [v for v in self.variables if not any(v is k for k in known)]
        return own | {f"other{i}": v for i, v in enumerate(others)}

    def save_own_variables(self, store: Store) -> None:
        for name, variable in self.scalars().items():
            store[name] = variable.numpy()
        for name, entries in self.slots().items():
            for path, entry in entries.items():
                store[f"{name}:{path}"] = entry.numpy()
        for name, vector in self._vectors().items():
            for path, value in zip(self._paths(), vector.numpy(), strict=True):
                store[f"{name}:{path}"] = value
        companion = self._file_state.companion
        for name, value in (companion() if companion else {}).items():
            store[f"kerasft:{name}"] = value

    def load_own_variables(self, store: Store) -> None:
        keys = list(store.keys())
        self._file_state.loaded = {}
        if all(key.isdigit() for key in keys):
            self._load_plain(store, len(keys))
            return
        stored: dict[str, dict[str, np.ndarray]] = {}
        for key in keys:
            name, _, path = key.partition(":")
            stored.setdefault(name, {})[path] = np.asarray(store[key])
        for name, variable in self.scalars().items():
            if name in stored:
                variable.assign(stored.pop(name)[""])
        self._file_state.loaded = stored.pop("kerasft", {})
        self._file_state.unclaimed = stored
        self._claim(range(len(self._trainable_variables)))

    def _claim(self, positions: Iterable[int]) -> None:
        """Give variables the state that a loaded file has for them."""
        paths, slots = self._paths(), self.slots()
        with self._editing_vectors() as vectors:
            for position in positions:
                path = paths[position]
                for name, entries in self._file_state.unclaimed.items():
                    key = key_of_path(entries, path, "|")
                    if key is None:
                        continue
                    if name in vectors:
                        vectors[name][position] = entries.pop(key)
                    elif path in slots.get(name, {}):
                        slots[name][path].assign(entries.pop(key))

    def _load_plain(self, store: Store, count: int) -> None:
        """Load what the optimizer without kerasft has saved: its variables in order, one step count."""
        added = [*self._vectors().values(), *self._unsaved_vectors(), self._warmup]
        own = [v for v in self.variables if not any(v is a for a in added)]
        if len(own) != count:
            super().load_own_variables(store)  # whose error says that it does not fit
            return
        for index, variable in enumerate(own):
            variable.assign(store[str(index)])
        self._age_all()

    def _age_all(self) -> None:
        """Let each variable be as old as the optimizer."""
        age = int(as_number(super().iterations))
        self._variable_steps.assign(np.full(len(self._trainable_variables), age))

    def _paths(self) -> list[str]:
        paths = [v.path.replace("/", "|") for v in self._trainable_variables]
        return [p if paths.index(p) == i else f"{p}#{i}" for i, p in enumerate(paths)]

    def _vectors(self) -> dict[str, keras.Variable]:
        """State with one entry for each variable."""
        return {"steps": self._variable_steps}

    def _unsaved_vectors(self) -> list[keras.Variable]:
        """Vectors that follow from the factors, or that a run begins with zeros."""
        return [self._factor_values, self._gradient_norms]

    @contextlib.contextmanager
    def _editing_vectors(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the vectors as arrays, and assign what they hold when the block ends."""
        vectors = self._vectors()
        values = {name: vector.numpy() for name, vector in vectors.items()}
        yield values
        for name, vector in vectors.items():
            vector.assign(values[name])

    # --- exclusions from weight decay, which Keras does not save

    def _without_weight_decay(self) -> dict[str, Any]:
        """The arguments that `exclude_from_weight_decay` was called with, as a configuration."""
        listed: set[object] = getattr(self, "_exclude_from_weight_decay", set())
        paths = [v.path for v in self._trainable_variables if self._var_key(v) in listed]
        return {"pattern": self._excluded_pattern(), "paths": paths or self._file_state.excluded}

    def _load_exclusions(self, without: Mapping[str, Any]) -> None:
        """Exclude what `_without_weight_decay` returned; variables follow when the optimizer is built."""
        if without.get("pattern"):
            self.exclude_from_weight_decay(var_names=[without["pattern"]])
        self._file_state.excluded = list(without.get("paths", ()))

    def _exclude_loaded(self, variables: Sequence[keras.Variable]) -> None:
        paths = dict.fromkeys(self._file_state.excluded)
        if paths:
            pattern = self._excluded_pattern()
            listed = [v for v in variables if key_of_path(paths, v.path) is not None]
            self.exclude_from_weight_decay(listed, [pattern] if pattern else None)

    def _excluded_pattern(self) -> str | None:
        pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
        return pattern.pattern if pattern else None


def key_of_path(entries: Mapping[str, object], path: str, separator: str = "/") -> str | None:
    """The key of a variable; a loaded Sequential model leaves out its own name in front of the path."""
    if path in entries:
        return path
    near = [k for k in entries if k.endswith(separator + path) or path.endswith(separator + k)]
    return near[0] if len(near) == 1 else None


def value_at_path(entries: Mapping[str, Value], path: str, default: Value) -> Value:
    """The entry of a variable."""
    key = key_of_path(entries, path)
    return default if key is None else entries[key]
