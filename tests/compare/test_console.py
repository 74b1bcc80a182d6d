import io

from rich.console import Console

from compare.console import Reporter


def reporter(terminal, verbosity=0):
    made = Reporter(verbosity)
    made.console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    return made


def go(made):
    with made.step("train", total=100) as advance:
        for epoch in range(101):
            advance(epoch, f"loss {epoch}")
    return made.console.file.getvalue()


def test_a_few_plain_lines_where_there_is_no_terminal():
    text = go(reporter(terminal=False))
    assert text.splitlines()[0] == "train"
    assert "    20 of 100, loss 20" in text
    assert len(text.splitlines()) == 6
    assert "\x1b" not in text


def test_a_bar_on_a_terminal():
    text = go(reporter(terminal=True))
    assert "100/100" in text
    assert "loss 100" in text


def test_quiet_and_verbose():
    assert go(reporter(terminal=False, verbosity=-1)) == ""
    loud = reporter(terminal=False, verbosity=1)
    loud.say("detail", level=1)
    assert loud.console.file.getvalue() == "detail\n"
    silent = reporter(terminal=False)
    silent.say("detail", level=1)
    assert silent.console.file.getvalue() == ""


def test_a_bar_is_for_people_only(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter does
    assert not Reporter().console.is_terminal
