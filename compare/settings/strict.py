"""Settings from YAML, strictly: no unknown key, and no text where a number belongs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.files import yaml_files
from bart_bridge.reconet.network_settings import Settings

_Settings = TypeVar("_Settings", bound=Settings)
Schema: TypeAlias = dict[str, Any]


def read(path: Path, model: type[_Settings]) -> _Settings:
    """Read a YAML file of settings.

    Raises:
        InputError: The file cannot be read, a key is unknown or missing, or a value has the wrong type or range; the
            message names the file, the key, the rule and the value.
    """
    content = yaml_files.read(path)
    try:
        return validated(content, model)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error, content, partial(known_keys, model))}") from None
    except (TypeError, ValueError, RecursionError) as error:
        # Besides other types: an alias inside of its own anchor.
        raise InputError(f"{path}: cannot be read ({error})") from None


def validated(content: object, model: type[_Settings]) -> _Settings:
    """Make settings from the content of a YAML file.

    Raises:
        ValidationError: A key is unknown or missing, or a value has the wrong type or range.
        TypeError: A value has a type that JSON does not have.
    """
    # Pydantic's strict mode for JSON accepts a YAML list as a tuple, but not a string as a number.
    return model.model_validate_json(json.dumps(content), strict=True)


def known_keys(model: type[Settings], location: Sequence[int | str]) -> list[str]:
    """List the keys that a block of settings may have, by pydantic's path to one of its keys, right or wrong."""
    schema = model.model_json_schema()
    blocks = [schema]
    for part in location[:-1]:
        # Pydantic's path also has names of types, below which there is nothing.
        blocks = [inner for block in blocks for inner in _below(block, part, schema)] or blocks
    keys = (key for block in blocks for one in _choices(block, schema) for key in one.get("properties", ()))
    return list(dict.fromkeys(keys))


def _below(block: Schema, part: int | str, root: Schema) -> Iterator[Schema]:
    """Yield what the JSON schema of a block says of one of its keys, of its members, or of a type that it may have."""
    for one in _choices(block, root):
        if part in one.get("properties", ()):
            yield one["properties"][part]
        elif isinstance(part, int) and "items" in one:
            yield one["items"]
        elif isinstance(one.get("additionalProperties"), dict):
            yield one["additionalProperties"]
    for one in (block, *block.get("anyOf", ())):
        if reference := one.get("discriminator", {}).get("mapping", {}).get(part):
            yield {"$ref": reference}


def _choices(block: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the JSON schemas that a block may follow, without references."""
    if reference := block.get("$ref"):
        yield from _choices(root["$defs"][reference.rpartition("/")[2]], root)
    for one in (*block.get("anyOf", ()), *block.get("oneOf", ()), *block.get("allOf", ())):
        yield from _choices(one, root)
    if "$ref" not in block:
        yield block
