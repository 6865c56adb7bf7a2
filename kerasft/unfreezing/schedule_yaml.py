"""Phases as YAML, and back."""

from __future__ import annotations

import re
from typing import Any

from kerasft.files import parse_json


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

    _read_exponents(Dumper)
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False))


def parse_yaml(text: str, what: str) -> Any:
    """Read YAML that somebody may have written by hand, as `kerasft.files.parse_json` reads JSON.

    Numbers such as 1e-3 are numbers, as in YAML 1.2 and JSON.

    Args:
        text: The YAML.
        what: What it is, for messages, such as "The schedule".

    Raises:
        ValueError: It is no YAML, has a key twice, or is nested too deeply to be read.

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
        """Refuses a key that is twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
                raise ValueError(f"{what} has the key {twice[0]!r} twice in one object. Leave one.")
            return super().construct_mapping(node, deep)

    _read_exponents(Loader)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{what} is not valid YAML: {error}") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply to be read.") from None


def _read_exponents(kind: Any) -> None:
    """Let 1e-3 be a number, which PyYAML takes for a name: YAML 1.1 wants 1.0e-3."""
    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    kind.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
