"""The state of an optimizer by the names of its variables, in memory and in files."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.optimizer.keys import key_of_path, numbered_paths, path_of
from kerasft._keras.optimizer.settings import as_number
from kerasft._keras.optimizer.slots import slots_and_scalars

# A mixin calls methods of the optimizer's class beside it, which no type checker sees.
OptimizerBase: Any = object
Arrays: TypeAlias = Mapping[str, Any]
Store: TypeAlias = MutableMapping[str, Any]

_LISTED = "listed"  # key of the list of paths and shapes, for HDF5 sorts names


@dataclass
class FileState:
    """State that an optimizer keeps for the files that it writes and reads.

    Attributes:
        companion: Gives arrays to be saved with the optimizer's own.
        loaded: The arrays that a companion gave for the file that was loaded last.
        unclaimed: Loaded state of variables that the optimizer is not built for yet, by name and path.
        listed: Path and shape of each variable of the optimizer that wrote the file, in order.
        excluded: Loaded paths of variables without weight decay, which Keras needs before it builds.
        decay_vectors: Whether variables of at most one axis have weight decay.
        configured: Path and shape of each variable of the optimizer whose configuration was loaded, in order.
    """

    companion: Callable[[], Arrays] | None = None
    loaded: dict[str, np.ndarray] = field(default_factory=dict)
    unclaimed: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    listed: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    decay_vectors: bool = True
    configured: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)


class NamedState(OptimizerBase):
    """Mixin over an optimizer's class: state that is saved by name.

    Keras saves it by position, where a model that was saved with other layers frozen does not find its own.
    Names are a hint all the same: Keras counts automatic ones up in a process, so that a model that is built
    again has others. Where a name is missing in the file, the order decides, if all shapes agree in it.

    Before the optimizer is built, it saves and loads as Keras does.
    """

    _file_state: FileState
    _settle_averages: Callable[[], None]

    def snapshot(self, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
        """Copy slots and step counts of `variables`, averages included, accumulated gradients left out."""
        positions = [self._get_variable_index(v) for v in variables]
        slots = slots_and_scalars(self)[0]
        slots.pop("_accumulated_gradients", None)
        kept = {
            f"{name}:@{index}": entry.numpy()
            for name, entries in slots.items()
            for index, entry in enumerate(entries[p] for p in positions)
            if entry is not None
        }
        for name, vector in self._vectors().items():
            kept |= {f"{name}:@{index}": vector.numpy()[p] for index, p in enumerate(positions)}
        return kept

    def restore(self, snapshot: Mapping[str, np.ndarray], variables: Sequence[keras.Variable]) -> None:
        """Put back what `snapshot` took of as many variables, in the same order.

        Names with paths, instead of numbers, are those of earlier versions.
        """
        positions = [self._get_variable_index(v) for v in variables]
        slots, paths = slots_and_scalars(self)[0], self._paths()
        with self._editing_vectors() as vectors:
            for key, value in snapshot.items():
                name, _, place = key.partition(":")
                numbered = place.startswith("@")
                position = positions[int(place[1:])] if numbered else paths.index(place)
                if name in vectors:
                    vectors[name][position] = value
                elif (entry := slots[name][position]) is not None:
                    entry.assign(value)

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

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        super().set_weights(weights)
        if len(weights) == len(self._plain_variables()):  # those of the optimizer without kerasft
            self._age_all()

    def save_own_variables(self, store: Store) -> None:
        if not self.built:
            super().save_own_variables(store)
            return
        self._settle_averages()
        for name, variable in self.scalars().items():
            store[name] = variable.numpy()
        paths = self._paths()
        for name, entries in self.slots().items():
            for path, entry in entries.items():
                store[f"{name}:{path}"] = entry.numpy()
        for name, vector in self._vectors().items():
            for path, value in zip(paths, vector.numpy(), strict=True):
                store[f"{name}:{path}"] = value
        store[_LISTED] = np.frombuffer(json.dumps([paths, self._shapes()]).encode(), "uint8")
        companion = self._file_state.companion
        for name, value in (companion() if companion else {}).items():
            store[f"kerasft:{name}"] = value

    def load_own_variables(self, store: Store) -> None:
        if not self.built:
            super().load_own_variables(store)  # whose warning says that it is not built
            return
        keys = list(store.keys())
        self._file_state.loaded = {}
        if all(key.isdigit() for key in keys):
            self._load_plain(store, len(keys))
            return
        stored: dict[str, dict[str, np.ndarray]] = {}
        for key in keys:
            name, _, path = key.partition(":")
            stored.setdefault(name, {})[path] = np.asarray(store[key])
        listed = stored.pop(_LISTED, None)
        paths, shapes = json.loads(bytes(listed[""]).decode()) if listed else ([], [])
        self._file_state.listed = [(p, tuple(s)) for p, s in zip(paths, shapes, strict=True)]
        for name, variable in self.scalars().items():
            if name in stored:
                variable.assign(stored.pop(name)[""])
        self._file_state.loaded = stored.pop("kerasft", {})
        self._file_state.unclaimed = stored
        found = self._claim(range(len(self._trainable_variables)))
        if not found and self._trainable_variables and self._file_state.unclaimed.get("steps"):
            warnings.warn(
                f"The optimizer's state in the file is that of other variables: none of {self._paths()[:3]} "
                "is among them, and their shapes differ. The optimizer begins with fresh state.",
                stacklevel=2,
            )

    def _claim(self, positions: Iterable[int]) -> bool:
        """Give variables the state that a loaded file has for them; return whether it has any."""
        paths, slots, keys, found = self._paths(), self.slots(), self._keys_in_file(), False
        with self._editing_vectors() as vectors:
            for position in positions:
                for name, entries in self._file_state.unclaimed.items():
                    key = keys[position]
                    if key not in entries:
                        continue
                    if name in vectors:
                        vectors[name][position] = entries.pop(key)
                        found = True
                    elif paths[position] in slots.get(name, {}):
                        slots[name][paths[position]].assign(entries.pop(key))
        return found

    def _keys_in_file(self) -> list[str | None]:
        """The path that each variable has in the loaded file; None for those that are not in it."""
        own, listed = list(zip(self._paths(), self._shapes(), strict=True)), self._file_state.listed
        unlisted = {path: None for entries in self._file_state.unclaimed.values() for path in entries}
        stored = dict(listed) or unlisted
        keys = [key_of_path(stored, path, "|") for path, _ in own]
        if listed:
            keys = [k if stored.get(k or "") == s else None for k, (_, s) in zip(keys, own, strict=True)]
            if None in keys and [shape for _, shape in listed] == [shape for _, shape in own]:
                return [path for path, _ in listed]
        return keys

    def _load_plain(self, store: Store, count: int) -> None:
        """Load what the optimizer without kerasft has saved: its variables in order, one step count."""
        own = self._plain_variables()
        if len(own) != count:
            super().load_own_variables(store)  # whose error says that it does not fit
            return
        for index, variable in enumerate(own):
            variable.assign(store[str(index)])
        self._age_all()

    def _plain_variables(self) -> list[keras.Variable]:
        """The variables that the optimizer has without kerasft, in Keras's order."""
        added = [*self._vectors().values(), *self._unsaved_vectors(), self._warmup]
        return [v for v in self.variables if not any(v is a for a in added)]

    def _age_all(self) -> None:
        """Let each variable be as old as the optimizer."""
        age = int(as_number(super().iterations))
        self._variable_steps.assign(np.full(len(self._trainable_variables), age))

    def _paths(self) -> list[str]:
        paths = [path_of(v).replace("/", "|") for v in self._trainable_variables]
        return [p if paths.index(p) == i else f"{p}#{i}" for i, p in enumerate(paths)]

    def _shapes(self) -> list[tuple[int, ...]]:
        return [tuple(v.shape) for v in self._trainable_variables]

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
        paths = [path_of(v) for v in self._trainable_variables if self._var_key(v) in listed]
        return {
            "pattern": self._excluded_pattern(),
            "paths": paths or self._file_state.excluded,
            "vectors": not self._file_state.decay_vectors,
        }

    def _use_weight_decay(self, variable: keras.Variable | tf.Variable) -> bool:
        """Keras's own answer, but no for biases, scales and offsets where vectors do not decay."""
        decays: bool = super()._use_weight_decay(variable)  # type: ignore[misc]
        return decays and (self._file_state.decay_vectors or len(variable.shape) > 1)

    def _load_exclusions(self, without: Mapping[str, Any]) -> None:
        """Exclude what `_without_weight_decay` returned; variables follow when the optimizer is built."""
        if without.get("pattern"):
            self.exclude_from_weight_decay(var_names=[without["pattern"]])
        self._file_state.excluded = list(without.get("paths", ()))
        self._file_state.decay_vectors = not without.get("vectors", False)

    def _exclude_loaded(self, variables: Sequence[keras.Variable], names: Mapping[str, str]) -> None:
        paths = dict.fromkeys(names.get(path, path) for path in self._file_state.excluded)
        if paths:
            pattern = self._excluded_pattern()
            listed = [v for v in variables if key_of_path(paths, path_of(v)) is not None]
            self.exclude_from_weight_decay(listed, [pattern] if pattern else None)

    def _names_since_configured(self, variables: Sequence[keras.Variable]) -> dict[str, str]:
        """Paths of variables by those in the loaded configuration, where order tells what names don't."""
        then = self._file_state.configured
        own = list(zip(numbered_paths(variables), (tuple(v.shape) for v in variables), strict=True))
        paths = dict(own)
        named = all(key_of_path(paths, path) is not None for path, _ in then)
        if named or [shape for _, shape in then] != [shape for _, shape in own]:
            return {}
        return {before: now for (before, _), (now, _) in zip(then, own, strict=True)}

    def _excluded_pattern(self) -> str | None:
        pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
        return pattern.pattern if pattern else None
