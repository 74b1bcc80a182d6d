"""Settings from YAML, strictly: no unknown key, and no text where a number belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.files import yaml_files
from bart_bridge.reconet.network_settings import Settings

_Settings = TypeVar("_Settings", bound=Settings)


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
        raise InputError(f"{path}: {first_fault(error, content)}") from None
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
