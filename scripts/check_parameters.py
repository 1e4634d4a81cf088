"""No function takes more than six parameters: `python scripts/check_parameters.py [FOLDER …]` names those that do.

`self` and `cls` are not counted, nor torch's `ctx`. Fields of a dataclass are no parameters: it is the way out. Typer
commands are exempt, because their parameters are the command's options: a command is known by its annotations, each
`Annotated[…, typer.Option(…)]` or `typer.Argument(…)`, written out or under a name. Tests are not looked at.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MOST = 6
FOLDERS = ("noisybench", "benchmarks", "scripts", "examples")

TORCH = "replaces torch's function of that name, under its signature"
AUTOGRAD = "torch's protocol: one parameter for each input of the operation"
PROMISED = "public and promised to stay as it is; its parameters are the formula's symbols"
FIXED = {  # functions whose parameters are not ours to choose, and why
    "noisybench/meta/replay.py:_batch_norm": TORCH,
    "noisybench/meta/second_order.py:_batch_norm": TORCH,
    "noisybench/meta/second_order.py:_BatchNorm.forward": AUTOGRAD,
    "noisybench/meta/label_gradient.py:label_meta_gradient": PROMISED,
    "noisybench/meta/weight_gradient.py:example_weight_meta_gradient": PROMISED,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(folders: list[str]) -> int:
    """Print the offenders, and exceptions that none needs; the exit code."""
    modules = {
        file: ast.parse(file.read_text(encoding="utf-8")) for folder in folders for file in _python_files(folder)
    }
    options = {name for module in modules.values() for name in _option_names(module)}
    wrong, excused = [], set()
    for file, module in modules.items():
        for name, function in _functions(module):
            count = len(_parameters(function))
            place = f"{file.as_posix()}:{name}"
            if count <= MOST or _is_command(function, options):
                continue
            if place in FIXED:
                excused.add(place)
            else:
                wrong.append(f"{file.as_posix()}:{function.lineno}: {name} takes {count} parameters, more than {MOST}")
    searched = {file.as_posix() for file in modules}
    stale = [place for place in FIXED if place.partition(":")[0] in searched and place not in excused]
    wrong += [f"{place}: needs no exception any more; take it off the list" for place in stale]
    print("\n".join(wrong) if wrong else f"no function of {', '.join(folders)} takes more than {MOST} parameters")
    return 1 if wrong else 0


def _python_files(folder: str) -> list[Path]:
    return sorted(Path(folder).rglob("*.py"))


def _functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, Function]]:
    """Every function below a node with its name, prefixed by the classes and functions around it."""
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, Function | ast.ClassDef):
            name = f"{within}.{child.name}" if within else child.name
        if isinstance(child, Function):
            yield name, child
        yield from _functions(child, name)


def _parameters(function: Function) -> list[ast.arg]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    others = [each for each in (given.vararg, given.kwarg) if each is not None]
    return [each for each in [*named, *others] if each.arg not in ("self", "cls", "ctx")]


def _is_command(function: Function, options: set[str]) -> bool:
    return all(
        each.annotation is not None
        and (
            _mentions_option(each.annotation)
            or (isinstance(each.annotation, ast.Name) and each.annotation.id in options)
        )
        for each in _parameters(function)
    )


def _mentions_option(node: ast.AST) -> bool:
    """Whether a call of ``typer.Option`` or ``typer.Argument`` is in it."""
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return any(ast.unparse(call) in ("typer.Option", "typer.Argument") for call in calls)


def _option_names(module: ast.Module) -> list[str]:
    """Names that a module gives to annotated options."""
    return [
        target.id
        for node in module.body
        if isinstance(node, ast.Assign) and _mentions_option(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(FOLDERS)))
