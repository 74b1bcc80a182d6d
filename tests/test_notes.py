"""The page docs/bart-notes.md says what BART does: the commands of every item run with each version of it."""

import re

import pytest

from tools import notes

TEXT = notes.PAGE.read_text()
ITEMS = notes.items(TEXT)
WITH_COMMANDS = [pytest.param(item, id=str(item.number)) for item in ITEMS if item.blocks]
PAGE = """| | What | Versions |
|---|---|---|
| old |

```sh
n=2
```

### 1. `cat -v`: two, really

** <!-- grep -q 1.5 -->

Text.

```sh
echo $n 1.5
```

```text
2 1.5001
```

Cause.

### 2. By hand

*0.8.00*
"""


@pytest.mark.barts
@pytest.mark.parametrize("item", WITH_COMMANDS)
def test_an_item_is_what_the_page_says(item, toolbox_of_version):
    version = toolbox_of_version.version_text
    result = notes.run(toolbox_of_version.path, notes.preparation(TEXT), item)
    for block, printed in zip(item.blocks, result.outputs, strict=True):
        assert notes.agree(block.output(version), printed), f"{block.shell}\nprinted:\n{printed}"
    assert result.holds == holds(item, version)


def holds(item, version):
    """Read the line of versions; `describe` writes it."""
    since = re.match(r"since (.*)", item.versions)
    return version >= since[1] if since else version in item.versions.partition(";")[0]


def test_items_are_numbered_and_the_table_is_that_of_the_headings():
    assert [item.number for item in ITEMS] == list(range(1, len(ITEMS) + 1))
    assert all(bool(item.blocks) == bool(item.condition) for item in ITEMS)
    assert notes.rewrite(TEXT, [{} for _ in ITEMS]) == TEXT


def test_every_version_has_an_output():
    for item in ITEMS:
        for block in item.blocks:
            assert set(block.outputs) in ({""}, set(notes.VERSIONS)), f"item {item.number}: {block.outputs}"


def test_one_output_for_all_versions_that_print_the_same_and_the_old_one_if_it_agrees():
    results = {"0.8.00": notes.Result(["2 1.5\n"], True), "0.9.00": notes.Result(["2 1.5005\n"], True)}
    page = notes.rewrite(PAGE, [results, {}])
    assert "```sh\necho $n 1.5\n```\n\n```text\n2 1.5001\n```\n\nCause." in page
    assert "| [1](#1-cat--v-two-really) | `cat -v`: two, really | 0.8.00, 0.9.00 |\n" in page
    assert "| [2](#2-by-hand) | By hand | 0.8.00 |\n\n" in page
    assert "old" not in page

    page = notes.rewrite(page, [results | {"1.0.00": notes.Result(["3 1.5\n"], False)}, {}])
    assert "\n0.8.00, 0.9.00:\n\n```text\n2 1.5001\n```\n\n1.0.00:\n\n```text\n3 1.5\n```\n\nCause." in page
    assert "*0.8.00, 0.9.00; fixed in 1.0.00* <!-- grep -q 1.5 -->" in page
    assert notes.items(page)[0].blocks[0].output("1.0.00") == "3 1.5\n"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([True, True, True], "0.8.00, 0.9.00, 1.0.00"),
        ([True, False, False], "0.8.00; fixed in 0.9.00"),
        ([False, False, True], "since 1.0.00"),
        ([True, False, True], "0.8.00, 1.0.00"),
        ([False, False, False], "none"),
    ],
)
def test_the_line_of_versions(held, words):
    assert notes.describe(dict(zip(notes.VERSIONS, held, strict=True))) == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("loss: 4.890211e-03;", "loss: 4.893e-03;", True),
        ("loss: 4.890211e-03;", "loss: 4.896e-03;", False),
        ("0.000001", "0.000002", True),
        ("0.000001", "0.000003", False),
        ("134", "135", False),
        ("-1.5+0.0i", "-1.5-0.0i", True),
        ("1.5 1.5", "1.5", False),
        ("nan", "-nan", False),
    ],
)
def test_outputs_agree(one, other, same):
    assert notes.agree(one, other) is same


def test_commands_run_after_the_preparation_with_the_bart_in_use(toolbox, monkeypatch):
    monkeypatch.setenv("BART_COMPAT_VERSION", "v0.8.00")
    # The shell says that a child was aborted; the page leaves this out.
    shells = ["bart version\n", "echo $there$BART_COMPAT_VERSION; sh -c 'kill -ABRT $$'; echo $?\n"]
    item = notes.Item(1, "", "", "grep -qx here", [notes.Block(shell, {}) for shell in shells])
    result = notes.run(toolbox.path, "there=here\n", item)
    assert result == notes.Result([f"v{toolbox.version_text}\n", "here\n134\n"], True)
    with pytest.raises(RuntimeError, match="the preparation printed 'wrong"):
        notes.run(toolbox.path, "echo wrong\n", item)


def test_make_notes_says_which_bart_is_missing(monkeypatch):
    monkeypatch.setattr(notes, "VERSIONS", ("0.8.00", "0.7.00"))
    with pytest.raises(SystemExit, match=r"^no BART 0.7.00 was found: make barts fetches it$"):
        notes.main()
