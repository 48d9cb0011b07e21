"""Change the code in one place at a time, and count the changes that the tests notice.

    python benchmarks/mutation.py losses tests/test_losses.py
    python benchmarks/mutation.py training tests/test_oracle_step.py --only train_step

A mutant swaps an operator, negates a condition, drops `not`, `~`, `-` or a call such as
`.detach()`, changes a constant, or deletes a statement, in a temporary copy of the package.
Survivors are printed: each needs a test, or is equivalent to the original.
"""

import argparse
import ast
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOAD = """torch torch._dynamo torch.fx.experimental.optimization torchvision.models pandas
pydantic scipy.stats safetensors.torch tqdm.auto PIL.Image pytest pytorch_metric_learning.losses"""
SECONDS = 300  # a mutant may make a test endless
PAIRS = "Lt LtE Gt GtE Eq NotEq Is IsNot In NotIn Add Sub Mult Div BitAnd BitOr And Or".split()
SWAPS = dict(zip(PAIRS[::2], PAIRS[1::2], strict=True))
SWAPS |= {b: a for a, b in SWAPS.items()} | {"FloorDiv": "Mult", "Mod": "Mult", "Pow": "Mult"}
DROPPED = ("detach", "clamp", "where", "square", "sum", "double", "to")
SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise, ast.Return)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that may take the place of `node`."""
    fields = dict(ast.iter_fields(node))
    operator = node.ops[0] if isinstance(node, ast.Compare) else fields.get("op")
    swapped = SWAPS.get(type(operator).__name__)
    if swapped:
        new = getattr(ast, swapped)()
        yield type(node)(
            **fields | ({"ops": [new, *node.ops[1:]]} if "ops" in fields else {"op": new})
        )
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in DROPPED:
        yield node.func.value
    if isinstance(node, ast.If | ast.IfExp):
        yield type(node)(**fields | {"test": ast.UnaryOp(ast.Not(), node.test)})
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, SIMPLE) and not text:
        yield ast.Pass()


def mutants(source: str, only: list[str]) -> Iterator[tuple[str, str]]:
    """What is changed, in words, and the whole source of each mutant."""
    tree = ast.parse(source)
    named = (n for n in ast.walk(tree) if getattr(n, "name", None) in only)
    for parent in [p for top in (named if only else [tree]) for p in ast.walk(top)]:
        for field, value in ast.iter_fields(parent):
            for i, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or field in ("annotation", "returns"):
                    continue
                for new in changes(node):
                    _put(parent, field, i, new)
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, field, i, node)
                    before, after = (ast.unparse(n).partition("\n")[0] for n in (node, new))
                    yield f"{node.lineno}: {before}  ->  {after}", text


def _put(parent: ast.AST, field: str, i: int, node: ast.AST) -> None:
    several = isinstance(getattr(parent, field), list)
    getattr(parent, field).__setitem__(i, node) if several else setattr(parent, field, node)


def passes(folder: Path, tests: list[str]) -> bool:
    """Whether the tests pass in a child process, which imports the package anew."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            os._exit(int(importlib.import_module("pytest").main(["-x", "-q", *tests])))
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", help="such as losses or engine/files")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--only", nargs="+", default=[], help="functions or classes; all if none")
    given = parser.parse_args()
    sys.dont_write_bytecode = True  # a mutant may be as long as the one before it
    for module in PRELOAD.split():  # once for all children
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as name:
        for part in ("reid_lib", "tests", "presets", "splits", "figures", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, Path(name, part))
        file = Path(name, "reid_lib", f"{given.module}.py")
        if not passes(Path(name), given.tests):
            sys.exit("the tests fail without any change")
        found, survived = list(mutants(file.read_text("utf-8"), given.only)), 0
        for words, text in found:
            file.write_text(text, encoding="utf-8")
            if passes(Path(name), given.tests):
                survived += 1
                print(f"{given.module}.py:{words}", flush=True)
    print(f"{given.module}: {len(found) - survived} of {len(found)} mutants killed")


if __name__ == "__main__":
    main()
