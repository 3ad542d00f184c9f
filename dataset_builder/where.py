"""`--where`: which rows of a source to take, as an expression over its columns, e.g. `NSFW == 'UNLIKELY'`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from .errors import InputError, one_sentence

EXAMPLE = "Write one such as \"NSFW == 'UNLIKELY' and similarity > 0.3\"."
METHODS = {str: {"lower", "upper", "strip", "startswith", "endswith"}}


class Where:
    """Evaluates an expression on rows: comparisons, `and`, `or`, `not`, `in`, arithmetic, `len`, methods of texts.

    simpleeval parses and evaluates it, and reaches nothing but the columns. A value that is missing is None. A text is
    compared with a number by the number that it says, as CSV has only texts. A row whose values cannot be compared is
    not taken.

    Attributes:
        columns: the names that the expression uses.

    Raises:
        InputError: simpleeval is not installed, or the expression is none.
    """

    def __init__(self, expression: str):
        try:
            import simpleeval
        except ImportError as error:
            raise InputError("--where needs the package simpleeval: pip install 'paraclip[generate]'") from error
        self._text, self._invalid = expression, simpleeval.InvalidExpression
        with one_sentence(f"--where {expression}: is no expression", EXAMPLE):
            self._parsed = ast.parse(expression.strip(), mode="eval").body
        functions: dict[str, Callable] = {"len": len}
        names = (node.id for node in ast.walk(self._parsed) if isinstance(node, ast.Name))
        self.columns = [name for name in dict.fromkeys(names) if name not in functions]
        self._evaluator = simpleeval.EvalWithCompoundTypes(
            operators=simpleeval.DEFAULT_OPERATORS | COMPARISONS, functions=functions, allowed_attrs=METHODS
        )

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is taken. Raises InputError where the expression asks for what there is not."""
        self._evaluator.names = row
        try:
            return bool(self._evaluator.eval(self._text, self._parsed))
        except self._invalid as error:
            raise InputError(f"--where {self._text}: {error}. {EXAMPLE}") from error
        except Exception:  # e.g. a text is not less than None
            return False


def _alike(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare_alike(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, (int, float)):
            left = _number(left)
        elif isinstance(right, str) and isinstance(left, (int, float)):
            right = _number(right)
        return compare(left, right)

    return compare_alike


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


COMPARISONS = {
    ast.Eq: _alike(operator.eq),
    ast.NotEq: _alike(operator.ne),
    ast.Lt: _alike(operator.lt),
    ast.LtE: _alike(operator.le),
    ast.Gt: _alike(operator.gt),
    ast.GtE: _alike(operator.ge),
}
