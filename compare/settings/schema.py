"""The JSON schema of a settings file, for editors and for the reference of keys."""

from __future__ import annotations

import json
from typing import Any

from docstring_parser import parse
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue


class _WithDescriptions(GenerateJsonSchema):
    """Takes the description of each key from the docstring of its class, and leaves out titles, which repeat names."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        result = super().model_schema(schema)
        described = _descriptions(schema["cls"])
        for name, key in result.get("properties", {}).items():
            key["description"] = described[name]
        result["description"] = parse(schema["cls"].__doc__ or "").short_description
        return result

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def text(model: type[BaseModel]) -> str:
    """Return the JSON schema (draft 2020-12) of a settings file, as JSON with an indent of two.

    A schema has the type and the range of each key. Rules between keys are checked by the settings themselves.

    Raises:
        KeyError: The docstring of a class does not describe one of its keys.
    """
    return json.dumps(model.model_json_schema(schema_generator=_WithDescriptions), indent=2, ensure_ascii=False) + "\n"


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a class and of its bases say about each key."""
    described = {"kind": "Which of the networks it is."}
    for base in reversed(model.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            for attribute in parse(base.__doc__ or "").params:
                names = attribute.arg_name.split(", ")
                described |= dict.fromkeys(names, " ".join((attribute.description or "").split()))
    return described
