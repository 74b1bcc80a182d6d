"""Exceptions that a user may see, each with its exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class BartTfError(Exception):
    """Base of all errors that the command line shows in one line instead of a traceback; exit code 1."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message in printable characters; names in a hostile file can hold any others."""
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in super().__str__())


class InputError(BartTfError, ValueError):
    """A file, option or configuration value that breaks a rule; exit code 2."""

    exit_code = 2


class ToolError(BartTfError, RuntimeError):
    """A program that is missing, failed, crashed or exceeded its time limit; exit code 1.

    Args:
        message: What happened, in a few words.
        argv: The command; empty by default, if none was run.
        returncode: Its exit code; the negative number of a signal if one ended it.
        stderr_tail: The last lines of its standard error.

    Attributes:
        diverged_at_update: The update at which a training diverged, see `DivergedError`; None for other failures.
    """

    diverged_at_update: int | None = None

    def __init__(
        self,
        message: str,
        argv: Sequence[str] = (),
        returncode: int | None = None,
        stderr_tail: Sequence[str] = (),
    ) -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr_tail = tuple(stderr_tail)
        parts = [message]
        if argv:
            parts.append("command: " + " ".join(argv))
        if stderr_tail:
            parts.append("stderr: " + " | ".join(stderr_tail))
        super().__init__("; ".join(parts))


class MissingExtraError(ToolError):
    """A package that only an extra of bart-tf installs, and that is not installed.

    Args:
        package: Its name.
        extra: The extra.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install bart-tf with the extra '{extra}' (bart-tf-compare[{extra}])"
        )


class DivergedError(ToolError):
    """A training whose loss or weights are no longer finite.

    Args:
        update: The update after which that was noticed, from 1, counted over all stages.
        reason: What is not finite.
    """

    def __init__(self, update: int, reason: str) -> None:
        super().__init__(f"diverged at update {update}: {reason}")
        self.diverged_at_update = update
        self.reason = reason


def why_unreadable(error: Exception) -> str:
    """Say why a file cannot be opened, in a few words without its path and without a number, in one line."""
    for kind, words in PATH_FAULTS.items():
        if isinstance(error, kind):
            return words
    return " ".join(str(getattr(error, "strerror", None) or error).split())


# What is wrong with a path, in words.
PATH_FAULTS = {
    FileExistsError: "it exists already",
    FileNotFoundError: "no such file",
    IsADirectoryError: "it is a folder, and a file is needed",
    NotADirectoryError: "part of its path is a file, and a folder is needed",
    PermissionError: "no permission",
}
# Of more keys than these, a message lists none.
_FEW_KEYS = 16
# Rules that pydantic words for its own users, in words for those who write settings.
_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a block of keys",
    "extra_forbidden": "no such key",
    "list_type": "must be a list",
    "missing": "this key is required",
    "model_attributes_type": "must be a block of keys",
    "model_type": "must be a block of keys",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_type": "must be a text",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "the key {discriminator} is required",
}
# YAML 1.1 takes a number without a dot, or without a sign in its exponent, for a text.
_EXPONENT = re.compile(r"([-+]?\d+)(\.\d*)?[eE]([-+]?\d+)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")


def first_fault(
    error: ValidationError, content: object = None, known: Callable[[Sequence[int | str]], list[str]] | None = None
) -> str:
    """Describe the first rule that settings break, in one line: the key, the rule and the value.

    The number of further faults follows if there are any.

    Args:
        error: What pydantic found.
        content: The settings as they were given, if they are at hand. Pydantic's path to a key also names the member of
            a union that it chose, `network.varnet.filters`; with `content` that part is left out.
        known: Returns the keys that there are beside one, by pydantic's path to it; default: not known.
    """
    faults = [(_keys(fault["loc"], content), fault) for fault in error.errors()]
    location = faults[0][0]
    # Where one of several types is allowed, each has faults of its own. Those of a block's keys say most.
    same = [each for each in faults if each[0][: len(location)] == location] if location else faults[:1]
    location, first = max(same, key=lambda each: len(each[0]))
    key = ".".join(str(part) for part in location)
    rule = _rule(first, [fault for _, fault in same])
    if not key and first["type"] != "value_error":
        key = "the file"
    message = f"{key}: {rule}" if key else rule
    if first["type"] == "extra_forbidden" and known:
        message += _suggestion(str(location[-1]), known(first["loc"]))
    if first["type"] == "union_tag_invalid":
        message += f" (received {first['ctx']['tag']!r})"
    elif first["type"] not in {"missing", "extra_forbidden"} and not isinstance(first["input"], dict):
        message += f" (received {first['input']!r})"
    others = len(faults) - len(same)
    return message + (f"; and {others} more" if others else "")


def _suggestion(key: str, known: list[str]) -> str:
    """Name the known key that a mistyped one is most like, or all if they are few."""
    if near := difflib.get_close_matches(key, known, n=1):
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(known)})" if len(known) <= _FEW_KEYS else ""


def _rule(fault: Mapping[str, Any], same: Sequence[Mapping[str, Any]]) -> str:
    """Return the rule that a fault breaks; `same` has those of all types that its key may have."""
    kind, values = fault["type"], fault.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind].format_map(values)
    if kind == "literal_error":
        choices = [each["ctx"]["expected"] for each in same if each["type"] == kind]
        return f"must be {' or '.join(choices)}"
    if kind == "too_short":
        least = values["min_length"]
        return f"must have at least {least} {'entry' if least == 1 else 'entries'}"
    rule = fault["msg"].removeprefix("Value error, ")
    rule = "must " + rule.removeprefix("Input should ") if rule.startswith("Input should ") else rule
    if kind in {"float_type", "int_type"} and isinstance(text := fault["input"], str):
        if match := _EXPONENT.fullmatch(text):
            return f"{rule}: write {match[1]}{match[2] or '.0'}e{int(match[3]):+d}, YAML needs the dot and the sign"
        if _NUMBER.fullmatch(text):
            return f"{rule} without quotes"
    return rule


def _keys(location: Sequence[int | str], content: object) -> list[int | str]:
    """Return a path without names of types, and without parts that `content` lacks although it has the next one."""
    # No key of ours has brackets; pydantic's names of types have them, such as `literal['mse','ssim']`.
    location = [part for part in location if "[" not in str(part)]
    keys: list[int | str] = []
    for number, part in enumerate(location):
        if (
            isinstance(content, dict)
            and part not in content
            and content.keys() & set(location[number + 1 : number + 2])
        ):
            continue
        keys.append(part)
        if isinstance(content, dict):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int):
            content = content[part]
        else:
            content = None
    return keys
