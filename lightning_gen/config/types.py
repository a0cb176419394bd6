"""Types of config values: does a value fit, and what does the type allow, in words."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, Strict, TypeAdapter, ValidationError

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
PLURALS = {bool: "truth values", int: "whole numbers", float: "numbers", str: "texts"}
SEQUENCES = (list, Sequence, tuple, set, frozenset)
UNCHECKED = object()  # for types whose values a config cannot hold


@cache
def strict(annotation: Any) -> Any:
    """The same type, but strict: "no" is not false, 8.0 is not a whole number, infinity is not a number.

    Members of a union that a config cannot hold, such as a tensor or a module, are left out. `UNCHECKED` if nothing
    remains.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (bool, int, str):
        return Annotated[annotation, Strict()]
    if annotation is float:
        return Annotated[float, Strict(), AllowInfNan(False)]
    if annotation in (None, type(None), Path, list, dict, tuple) or origin is Literal:
        return annotation
    if origin is Annotated:
        parts = (strict(arguments[0]), *arguments[1:])
        return UNCHECKED if parts[0] is UNCHECKED else Annotated[parts]
    if origin in (Union, types.UnionType):
        members = [member for member in map(strict, arguments) if member is not UNCHECKED]
        only_null = all(member is type(None) for member in members)
        return UNCHECKED if only_null else Union[tuple(members)]  # noqa: UP007 (the members are known at run time)
    if origin in (*SEQUENCES, dict, Mapping):
        inner_types = [argument if argument is ... else strict(argument) for argument in arguments]
        if UNCHECKED in inner_types:
            return UNCHECKED
        return (dict if origin is Mapping else list if origin is Sequence else origin)[tuple(inner_types)]
    return UNCHECKED


@cache
def adapter(annotation: Any) -> TypeAdapter | None:
    """What validates values of this type; None if a config cannot hold them."""
    checked = strict(annotation)
    return None if checked is UNCHECKED else TypeAdapter(checked)


def is_checked(annotation: Any) -> bool:
    """Whether the type says anything of plain values."""
    return adapter(annotation) is not None


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value (number, text, list, dict) fits the type; true for types that no plain value can have."""
    known = adapter(annotation)
    if known is None:
        return True
    try:
        known.validate_python(value)
    except ValidationError:
        return False
    return True


def is_plain(value: Any) -> bool:
    """Whether this is a single value, not a group or a list of values."""
    return value is None or isinstance(value, bool | int | float | str)


def needs_object(annotation: Any, value: Any) -> bool:
    """Whether arguments of this type are objects, such as functions and modules, and this value is not allowed."""
    if annotation is Any or isinstance(annotation, typing.TypeVar | str) or is_checked(annotation):
        return False
    return not (value is None and type(None) in get_args(annotation))


def in_words(annotation: Any) -> str:
    """What the type allows, in words: `a whole number, 1 or more, or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in NAMES:
        return NAMES[annotation]
    if annotation in (None, type(None)):
        return "null"
    if origin is Literal:
        return _either([str(choice) for choice in arguments])
    if origin is Annotated:
        bounds = [text for bound in arguments[1:] if (text := _bound(bound))]
        return ", ".join([in_words(arguments[0]), " and ".join(bounds)] if bounds else [in_words(arguments[0])])
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if strict(member) is not UNCHECKED]
        choices = [get_args(member) if get_origin(member) is Literal else (in_words(member),) for member in members]
        return _either([str(choice) for some in choices for choice in some])
    if origin is tuple and ... not in arguments:
        return f"a list of {len(arguments)} {_plural(arguments[0])}"
    if origin in SEQUENCES:
        return f"a list of {_plural(arguments[0])}"
    return "a mapping" if annotation is dict or origin in (dict, Mapping) else "a list"


def _either(words: list[str]) -> str:
    """`a, b or c`; with a comma before `or` if one of them contains a comma."""
    *first, last = dict.fromkeys(words)
    if not first:
        return last
    comma = "," if any("," in word for word in first) else ""
    return f"{', '.join(first)}{comma} or {last}"


def _bound(bound: Any) -> str:
    words = {Ge: ("ge", "{} or more"), Gt: ("gt", "above {}"), Le: ("le", "at most {}"), Lt: ("lt", "below {}")}
    if type(bound) not in words:
        return ""
    name, form = words[type(bound)]
    return form.format(getattr(bound, name))


def _plural(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        inner, *bounds = get_args(annotation)
        words = " and ".join(text for bound in bounds if (text := _bound(bound)))
        return f"{_plural(inner)}, each {words}" if words else _plural(inner)
    members = [m for m in get_args(annotation) if strict(m) is not UNCHECKED] if get_origin(annotation) else []
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_plural(member) for member in members)
    return PLURALS.get(annotation, "values")


def hints(target: Any) -> dict[str, Any]:
    """The annotations of a callable's parameters, with their ranges; {} if they cannot be resolved."""
    try:
        found: dict[str, Any] = {}
        for part in reversed(list(_constructors(target))):
            found |= typing.get_type_hints(_signed(part), include_extras=True)
        return found
    except Exception:  # names that are imported only for type checkers
        return {}


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a callable by name; what a class passes on by `**options` is its base class's.

    Raises:
        ValueError: a built-in without a signature.
    """
    own, *bases = _constructors(target)
    found = dict(inspect.signature(own).parameters)
    for base in bases:
        passed_on = [name for name, parameter in found.items() if parameter.kind is parameter.VAR_KEYWORD]
        found = dict(inspect.signature(base).parameters) | {k: p for k, p in found.items() if k not in passed_on}
    return found


def _constructors(target: Any) -> Iterator[Any]:
    """The callable, and after a class with `**options` the base class that gets them, and so on."""
    yield target
    if isinstance(target, type):
        kinds = [parameter.kind for parameter in inspect.signature(target).parameters.values()]
        base = next((base for base in target.__mro__[1:] if "__init__" in vars(base)), object)
        if inspect.Parameter.VAR_KEYWORD in kinds and base is not object and inspect.signature(base).parameters:
            yield from _constructors(base)


def _signed(target: Any) -> Any:
    """What carries the annotations: the constructor of a class, or the function itself."""
    return getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009 (mypy forbids target.__init__)
