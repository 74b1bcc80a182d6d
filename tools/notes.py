#!/usr/bin/env python3
"""Run the commands of docs/bart-notes.md with several BARTs, and write what comes out into the page: `make notes`.

The page itself has all that is needed. An item is a heading with a number, a line of versions, and blocks of shell,
each with its output, or with one output for each group of versions that print the same. The comment behind the versions
is a command that reads what the item printed; the item holds in a version if the command succeeds. Items without
commands have a line of versions that was written by hand.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bart_bridge.tools.discovery import every_bart  # noqa: E402

PAGE = ROOT / "docs" / "bart-notes.md"
VERSIONS = ("0.8.00", "0.9.00", "1.0.00")
# Numbers agree if they differ by at most this part of them, or by one in the last place. The page says so, too.
TOLERANCE = 0.001

_VERSION = r"\d\.\d+\.\d\d"
_HEADING = re.compile(r"^### (\d+)\. (.*)$", re.MULTILINE)
_VERSIONS = re.compile(r"^\*(.*?)\*(?: <!-- (.*) -->)?$", re.MULTILINE)
_TABLE = re.compile(r"(?<=\| \| What \| Versions \|\n\|---\|---\|---\|\n)(?:\|.*\n)+")
_BLOCK = re.compile(
    rf"^```sh\n(?P<shell>.*?)^```\n(?P<outputs>(?:\n(?:{_VERSION}[^\n]*:\n\n)?```text\n.*?^```\n)*)",
    re.MULTILINE | re.DOTALL,
)
_OUTPUT = re.compile(r"^(?:([^\n]*):\n\n)?```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")
_MESSAGE_OF_SHELL = re.compile(r"^.*: line \d+: .* Aborted .*\n", re.MULTILINE)
_READ_BY_BART = ("BART_", "TOOLBOX_PATH", "DEBUG_LEVEL")


@dataclass(frozen=True)
class Block:
    """Commands, and what the page says that each version prints; an output for all versions has the key ""."""

    shell: str
    outputs: dict[str, str]

    def output(self, version: str) -> str | None:
        """Return what the page says that a version prints."""
        return self.outputs.get(version, self.outputs.get(""))


@dataclass(frozen=True)
class Item:
    """An item of the page; `condition` is the command that decides whether it holds."""

    number: int
    title: str
    versions: str
    condition: str
    blocks: list[Block]

    @property
    def row(self) -> str:
        """The row of the table, with a link to the heading."""
        anchor = re.sub(r"[^\w\- ]", "", f"{self.number}. {self.title}".lower()).replace(" ", "-")
        return f"| [{self.number}](#{anchor}) | {self.title} | {self.versions} |\n"


@dataclass(frozen=True)
class Result:
    """What one version of BART printed for each block of an item, and whether the item holds in it."""

    outputs: list[str]
    holds: bool


def split(page: str) -> list[str]:
    """Split the page in front of the heading of each item."""
    starts = [heading.start() for heading in _HEADING.finditer(page)]
    return [page[start:end] for start, end in zip([0, *starts], [*starts, len(page)], strict=True)]


def preparation(page: str) -> str:
    """Return the commands in front of the first item; every item needs them."""
    return _BLOCK.search(page)["shell"]


def items(page: str) -> list[Item]:
    """Return the items of the page."""
    return [_item(text) for text in split(page)[1:]]


def _item(text: str) -> Item:
    number, title = _HEADING.match(text).groups()
    versions, condition = _VERSIONS.search(text).groups(default="")
    return Item(int(number), title, versions, condition, [_block(found) for found in _BLOCK.finditer(text)])


def _block(found: re.Match) -> Block:
    labelled = _OUTPUT.findall(found["outputs"])
    return Block(found["shell"], {name: output for names, output in labelled for name in names.split(", ")})


def run(bart: Path, prepare: str, item: Item) -> Result:
    """Run the commands of an item with one BART, in a folder of its own.

    Raises:
        RuntimeError: The preparation printed something, so it did not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bin" / "bart"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{bart}" "$@"\n')
        program.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_READ_BY_BART)}
        environment |= {"PATH": f"{program.parent}:{environment['PATH']}", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
        environment["TMPDIR"] = folder
        files = [Path(folder) / str(number) for number in range(len(item.blocks) + 1)]
        shells = [prepare, *(block.shell for block in item.blocks)]
        script = "".join(f"exec > {file} 2>&1\n{shell}" for file, shell in zip(files, shells, strict=True))
        subprocess.run(["bash"], input=script, env=environment, text=True, check=False, timeout=300)
        prepared, *outputs = (_MESSAGE_OF_SHELL.sub("", file.read_text()) for file in files)
    if prepared:
        raise RuntimeError(f"{bart}: the preparation printed {prepared!r}")
    condition = subprocess.run(["bash", "-c", item.condition], input="".join(outputs), text=True, check=False)
    return Result(outputs, condition.returncode == 0)


def agree(one: str, other: str) -> bool:
    """Return whether two outputs agree: text and integers to the letter, other numbers by TOLERANCE."""
    numbers = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=False)
    return _NUMBER.sub("#", one) == _NUMBER.sub("#", other) and all(_are_close(*pair) for pair in numbers)


def _are_close(one: str, other: str) -> bool:
    digits, _, exponent = one.partition("e")
    last_place = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(one) - float(other)) <= max(1.001 * last_place, TOLERANCE * abs(float(one)))


def describe(holds: dict[str, bool]) -> str:
    """Say in which of the versions an item holds, for example `0.8.00, 0.9.00; fixed in 1.0.00`."""
    versions, held = list(holds), [version for version in holds if holds[version]]
    count = len(held)
    if 0 < count < len(versions) and held == versions[:count]:
        return f"{', '.join(held)}; fixed in {versions[count]}"
    if 0 < count < len(versions) and held == versions[-count:]:
        return f"since {held[0]}"
    return ", ".join(held) or "none"


def rewrite(page: str, results: list[dict[str, Result]]) -> str:
    """Write versions and outputs into the page; an output that still agrees stays as it is.

    Args:
        page: The page.
        results: For each item, the results of all versions; for an item without commands none.
    """
    start, *texts = split(page)
    texts = [_with_results(text, of_item) if of_item else text for text, of_item in zip(texts, results, strict=True)]
    rows = "".join(_item(text).row for text in texts)
    return "".join([_TABLE.sub(lambda _: rows, start), *texts])


def _with_results(text: str, results: dict[str, Result]) -> str:
    versions = describe({version: result.holds for version, result in results.items()})
    text = _VERSIONS.sub(lambda found: f"*{versions}* <!-- {found[2]} -->", text, count=1)
    of_blocks = zip(*(result.outputs for result in results.values()), strict=True)
    return _BLOCK.sub(
        lambda found: _with_outputs(_block(found), dict(zip(results, next(of_blocks), strict=True))), text
    )


def _with_outputs(block: Block, printed: dict[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for version, new in printed.items():
        old = block.output(version)
        output = old if old is not None and agree(old, new) else new
        groups.setdefault(next((other for other in groups if agree(other, output)), output), []).append(version)
    labels = [f"{', '.join(versions)}:\n\n" if len(groups) > 1 else "" for versions in groups.values()]
    outputs = "".join(f"\n{label}```text\n{output}```\n" for label, output in zip(labels, groups, strict=True))
    return f"```sh\n{block.shell}```\n{outputs}"


def main() -> None:
    """Run all items with all versions, and rewrite the page."""
    barts = {toolbox.version_text: toolbox.path for toolbox in reversed(every_bart()[0])}
    if missing := [version for version in VERSIONS if version not in barts]:
        sys.exit(f"no BART {', '.join(missing)} was found: make barts fetches it")
    page = PAGE.read_text()
    prepare = preparation(page)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [
            {version: pool.submit(run, barts[version], prepare, item) for version in VERSIONS if item.blocks}
            for item in items(page)
        ]
        results = [{version: future.result() for version, future in of_item.items()} for of_item in running]
    PAGE.write_text(rewrite(page, results))


if __name__ == "__main__":
    main()
