"""What holds for the code as a whole: it stays readable in the large, and a public name has one meaning."""

import ast
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_BODY = 40
MOST_MODULES = 15
TRAINER_LINES = 11300

SAME_MEANING = {"SoftKNN", "Accuracy", "Neighbour", "Answer"}
"""Names that stand in several modules for the same thing: as arrays and as tensors, in the server and in its client."""

PRIVATE_WORDS = {
    *("Front", "Fronts", "Child", "Desk", "Skin", "Answering", "Share", "Waiting", "Found", "Rung", "Climb", "Ladder", "Hunt"),
    *("Scene", "Outlook", "Work", "Cast", "Pace", "Guest", "Road", "Contestant", "Rehearsal", "Circumstances"),
}


def production_modules():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    if listed.returncode:
        pytest.skip("this is not a git checkout: which files belong to the project cannot be told")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [p for p in paths if p.is_file() and p.relative_to(ROOT).parts[0] != "tests" and "_pb2" not in p.name]


@pytest.fixture(scope="module")
def trees():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in production_modules()}


def body_lines(function):
    """Lines of a function's body, its docstring not counted."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def public_classes(trees):
    homes = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path)
    return homes


def test_a_function_fits_on_a_screen(trees):
    functions = (
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {f"{path}: {node.name}": body_lines(node) for path, node in functions}
    assert len(lengths) > 500
    assert {name: length for name, length in lengths.items() if length > LONGEST_BODY} == {}


def test_a_folder_can_be_overseen(trees):
    counts = Counter(Path(path).parent.as_posix() for path in trees)
    assert counts["holdfast/attacks"] > 1
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_a_public_class_name_has_one_meaning(trees):
    homes = public_classes(trees)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1 and name not in SAME_MEANING} == {}


def test_public_classes_have_the_names_of_the_field(trees):
    assert PRIVATE_WORDS & set(public_classes(trees)) == set()


def test_the_trainer_holds_training_and_little_else(trees):
    assert {"trainer/train.py", "trainer/config.py"} <= set(trees)
    lines = sum(len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in trees if path.startswith("trainer/"))
    assert lines < TRAINER_LINES
