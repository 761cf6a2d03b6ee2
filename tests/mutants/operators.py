"""Small changes to the functions of a module, one at a time: each is a bug that a test must notice."""

import ast
import copy
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PLAIN = (ast.Name, ast.Attribute)


class Mutant(NamedTuple):
    """One change to the function ``qualname`` of a module, number ``number`` of those that can be made in it. ``was``
    and ``now`` are the code before and after; ``begins`` is the line on which the function's code object begins.
    """

    module: str
    number: int
    line: int
    qualname: str
    begins: int
    was: str
    now: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line} {self.qualname}: {self.was} → {self.now}"


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Return every change that can be made to the functions of ``source``."""
    mutator = _Mutator(None)
    mutator.visit(ast.parse(source))
    return [Mutant(module, number, *made) for number, made in enumerate(mutator.made)]


def mutated_code(mutant: Mutant, source: str, filename: str) -> CodeType:
    """Return the code object of the mutant's function, with the change."""
    tree = _Mutator(mutant.number).visit(ast.parse(source))
    module = compile(ast.fix_missing_locations(tree), filename, "exec")
    return next(
        code for code in _codes(module) if (code.co_qualname, code.co_firstlineno) == (mutant.qualname, mutant.begins)
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class _Mutator(ast.NodeTransformer):
    """Notes every change that can be made, and makes the one numbered ``wanted``."""

    def __init__(self, wanted: int | None) -> None:
        self.made: list[tuple[int, str, int, str, str]] = []
        self._wanted = wanted
        self._outer: list[str] = []
        self._begins = 0

    def _offer(self, node: Any, change: Callable[[], ast.AST]) -> Any:
        """Note a change of ``node``; return the changed node where it is the wanted one."""
        if not self._begins:
            return node
        new = change()
        was, now = (" ".join(ast.unparse(ast.fix_missing_locations(one)).split()) for one in (node, new))
        self.made.append((node.lineno, ".".join(self._outer), self._begins, was, now))
        return new if len(self.made) - 1 == self._wanted else node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        if not self._begins:
            self._outer.append(node.name)
            node.body = [self.visit(one) if isinstance(one, _Mutator.FUNCTIONS) else one for one in node.body]
            self._outer.pop()
        return node

    FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

    def _visit_function(self, node: Any) -> Any:
        outermost = not self._begins
        if outermost:
            self._outer.append(node.name)
            self._begins = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        has_docstring = ast.get_docstring(node, clean=False) is not None
        kept = node.body[:has_docstring]
        node.body = [*kept, *(self.visit(one) for one in node.body[has_docstring:])]
        if outermost:
            self._outer.pop()
            self._begins = 0
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function  # noqa: N815

    def visit_Assert(self, node: ast.Assert) -> Any:
        return node  # what must be impossible cannot be made to happen

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        self.generic_visit(node)
        for place, operator in enumerate(node.ops):
            node = self._offer(node, partial(_with_operator, node, place, operator))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        self.generic_visit(node)
        other = _COMPUTED.get(type(node.op))
        if other is None:
            return node
        return self._offer(node, lambda: ast.BinOp(node.left, other(), node.right))

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        self.generic_visit(node)
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        return self._offer(node, lambda: ast.BoolOp(other(), node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        return self._offer(node, lambda: node.operand) if isinstance(node.op, ast.Not | ast.USub) else node

    def visit_Constant(self, node: ast.Constant) -> Any:
        value = node.value
        if isinstance(value, bool):
            return self._offer(node, lambda: ast.Constant(not value))
        if isinstance(value, int):
            node = self._offer(node, lambda: ast.Constant(value + 1))
            return self._offer(node, lambda: ast.Constant(value - 1))
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        return node  # sentences for people

    def _visit_condition(self, node: Any) -> Any:
        self.generic_visit(node)
        node.test = self._offer(node.test, lambda: ast.UnaryOp(ast.Not(), node.test))
        return node

    visit_If = visit_IfExp = visit_While = _visit_condition  # noqa: N815

    def visit_Return(self, node: ast.Return) -> Any:
        self.generic_visit(node)
        if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
            return node
        return self._offer(node, lambda: ast.Return(ast.Constant(None)))

    def visit_Expr(self, node: ast.Expr) -> Any:
        self.generic_visit(node)
        kept = isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom)
        return node if kept else self._offer(node, ast.Pass)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        self.generic_visit(node)
        return self._offer(node, ast.Pass)

    def visit_Raise(self, node: ast.Raise) -> Any:
        self.generic_visit(node)
        return self._offer(node, ast.Pass)

    def visit_Continue(self, node: ast.Continue) -> Any:
        return self._offer(node, ast.Pass)

    def visit_Break(self, node: ast.Break) -> Any:
        return self._offer(node, ast.Pass)

    def visit_Assign(self, node: ast.Assign) -> Any:
        self.generic_visit(node)
        kept = isinstance(node.targets[0], ast.Name | ast.Tuple)  # without it the next line fails
        return node if kept else self._offer(node, ast.Pass)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Any:
        self.generic_visit(node)
        if node.type is not None:
            node.type = self._offer(node.type, lambda: ast.Tuple([], ast.Load()))  # it catches nothing
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        for place in range(len(node.args) - 1):
            if all(isinstance(one, _PLAIN) for one in node.args[place : place + 2]):
                node = self._offer(node, partial(_with_swapped, node, place))
        return node


def _with_operator(node: ast.Compare, place: int, operator: ast.cmpop) -> ast.Compare:
    new = copy.copy(node)
    new.ops = [*node.ops[:place], _COMPARED[type(operator)](), *node.ops[place + 1 :]]
    return new


def _with_swapped(node: ast.Call, place: int) -> ast.Call:
    new = copy.copy(node)
    first, second = node.args[place : place + 2]
    new.args = [*node.args[:place], second, first, *node.args[place + 2 :]]
    return new
