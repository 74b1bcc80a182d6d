"""The one way in which YAML files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bart_bridge.errors import InputError, why_unreadable


class _Loader(yaml.SafeLoader):
    """Rejects a key that appears twice in one block; YAML itself would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key '{key}' appears twice in the block at line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        InputError: The file cannot be read, is not YAML, has no content, or has a key twice in one block.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({why_unreadable(error)})") from None
    if content is None:
        raise InputError(f"{path}: keys are needed, it is empty")
    return content
