"""Phases as YAML, and back."""

from __future__ import annotations

import re
from typing import Any

from kerasft.files import parse_json

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


def looks_like_text(path_or_text: str) -> bool:
    """Whether a string is YAML itself, rather than the path of a file."""
    return "\n" in path_or_text or re.match(r"\s*(\{|phases\s*:)", path_or_text) is not None


def is_yaml(path: str) -> bool:
    """Whether a file is YAML by its name."""
    return path.lower().endswith((".yaml", ".yml"))


def yaml_text(content: dict[str, Any]) -> str:
    """Plain lists, dicts and numbers as YAML."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Puts names that would be read as numbers in quotes."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    _read_more_numbers(Dumper)
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False))


def parse_yaml(text: str, what: str) -> Any:
    """Read YAML that somebody may have written by hand, as `kerasft.files.parse_json` reads JSON.

    Numbers such as 1e-3 are numbers, as in YAML 1.2 and JSON. An unquoted 012 or 1_0, which YAML 1.1 reads as
    another number than YAML 1.2, or only one of them as a number, is refused.

    Args:
        text: The YAML.
        what: What it is, for messages, such as "The schedule".

    Raises:
        ValueError: It is no YAML, has a key twice or a number with two readings, or is nested too deeply to
            be read.

    Example:
        >>> parse_yaml("phases: [{depth: head, learning_rate: 1e-3}]", "The schedule")
        {'phases': [{'depth': 'head', 'learning_rate': 0.001}]}
    """
    import yaml

    if text.lstrip().startswith("{"):
        try:
            return parse_json(text, what)
        except ValueError as error:
            if "twice" in str(error):
                raise

    class Loader(yaml.SafeLoader):
        """Refuses a key that is twice, and a number with two readings."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)
            if kind is yaml.ScalarNode and implicit[0] and tag in (_INT, _FLOAT):
                _check_number(value, yaml.safe_load(value), what)
            return tag

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
                raise ValueError(f"{what} has the key {twice[0]!r} twice in one object. Leave one.")
            return super().construct_mapping(node, deep)

    _read_more_numbers(Loader)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{what} is not valid YAML: {error}") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply to be read.") from None


def _read_more_numbers(kind: Any) -> None:
    """Let 1e-3, .5e3, 08 and 0o14 be numbers, as in YAML 1.2: PyYAML, of YAML 1.1, takes them for names."""
    kind.add_implicit_resolver(_FLOAT, _DECIMAL, list("-+.0123456789"))
    kind.add_implicit_resolver(_INT, re.compile(r"0o[0-7]+$"), ["0"])


def _check_number(text: str, older: Any, what: str) -> None:
    """Refuse an unquoted scalar that YAML 1.1 reads as `older`, and YAML 1.2 as something else."""
    if re.match(r"[-+]?\.(inf|nan)$", text.lower()):
        return
    newer: Any = text
    if re.match(r"[-+]?[0-9]+$", text):
        newer = int(text)
    elif based := re.match(r"0(?:o([0-7]+)|x([0-9a-fA-F]+))$", text):
        newer = int(based[1], 8) if based[1] else int(based[2], 16)
    elif _DECIMAL.match(text):
        return  # YAML 1.1 reads the same number, or none
    if newer == older:
        return
    names = [f"the name {v!r}" if isinstance(v, str) else f"the number {v}" for v in (older, newer)]
    raise ValueError(
        f"{what} has {text} without quotes, which is {names[0]} in YAML 1.1, and {names[1]} in YAML 1.2. "
        "Write the number that is meant in decimal digits alone, or a name in quotes."
    )
