"""Names of files, folders and classes are printed letter by letter, whatever rich would make of them."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import BarColumn
from rich.table import Table

from holdfast.console import Console, Progress, TextColumn, track

NAMES = ["[bold]", "a[red]b", "[/]", "[link=x]", ":cat:", "\\[x]", "[0]"]


def terminal(**options):
    return Console(file=io.StringIO(), width=200, **options)


def shown(console):
    return console.file.getvalue()


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=60))
def test_a_line_is_printed_as_it_is(text):
    console = terminal()
    console.print(text)
    assert shown(console) == f"{text}\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("force_terminal", [False, True])
def test_names_in_tables_titles_rules_and_bars(name, force_terminal):
    console = terminal(force_terminal=force_terminal, no_color=True)
    table = Table(name, title=name, caption=name, show_header=True)
    table.add_row(name)
    console.print(table)
    console.rule(name)
    with console.status(name):
        pass
    assert shown(console).count(name) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_names_beside_progress_bars(name):
    console = terminal(force_terminal=True, no_color=True)
    assert list(track([1, 2], name, console=console)) == [1, 2]
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console) as progress:
        progress.add_task(name, total=1)
    assert shown(console).count(name) >= 2


def test_a_long_path_is_not_broken():
    console, path = Console(file=io.StringIO(), width=40), "/very/long/path" * 20
    console.print(f"next: holdfast index {path}")
    assert f"holdfast index {path}\n" in shown(console)
