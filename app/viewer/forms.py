"""Owns forms: the fields of a settings dataclass as components of the page, and back from their values."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from scene3d.config import load_settings, settings_to_record
from scene3d.errors import SettingsError

UNITS = {"gb": "GB", "px": "px", "m": "m", "s": "s", "db": "dB", "deg": "°"}

FieldKind = Literal["bool", "int", "float", "choice", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One setting."""

    path: tuple[str, ...]
    """Names from the outermost group inwards."""

    kind: FieldKind
    help: str
    """Its docstring."""

    default: Any
    choices: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """As a person reads it: a unit at the end of the name stands in brackets."""
        *words, last = self.path[-1].split("_")
        if words and last in UNITS:
            return f"{' '.join(words).capitalize()} ({UNITS[last]})"
        return " ".join((*words, last)).capitalize().replace(" lr", " step size").replace("Sh ", "SH ")


def find_fields(settings: Any, prefix: tuple[str, ...] = ()) -> list[FormField]:
    """The settings that a form can hold; paths and tuples are for files and the command line."""
    cls = type(settings)
    hints, docs = typing.get_type_hints(cls), read_docs(cls)
    found: list[FormField] = []
    for part in dataclasses.fields(cls):
        value, path = getattr(settings, part.name), (*prefix, part.name)
        if dataclasses.is_dataclass(value):
            found += find_fields(value, path)
            continue
        kind, choices = _kind_of(hints[part.name])
        if kind is not None:
            found.append(FormField(path=path, kind=kind, help=docs.get(part.name, ""), default=value, choices=choices))
    return found


def read_docs(cls: type) -> dict[str, str]:
    """The text below each field of a dataclass and of those it inherits from."""
    docs: dict[str, str] = {}
    for each in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
                docs[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return docs


def make_component(field: FormField) -> gr.components.Component:
    """The component for one setting, its docstring below the name."""
    common: dict[str, Any] = {"label": field.label, "info": field.help}
    if field.kind == "bool":
        return gr.Checkbox(value=field.default, **common)
    if field.kind == "choice":
        return gr.Dropdown(list(field.choices), value=field.default, **common)
    if field.kind == "text":
        return gr.Textbox(value="" if field.default is None else str(field.default), max_lines=1, **common)
    return gr.Number(value=field.default, precision=0 if field.kind == "int" else None, **common)


def read_form(cls: type[Any], fields: Sequence[FormField], values: Sequence[Any]) -> Any:
    """The settings that a form says; whatever makes no sense is refused by the settings themselves.

    Raises:
        SettingsError: A value makes no sense.
    """
    record: dict[str, Any] = {}
    for field, value in zip(fields, values, strict=True):
        parsed = _parse(field, value)
        if parsed == field.default:
            continue
        group = record
        for name in field.path[:-1]:
            group = group.setdefault(name, {})
        group[field.path[-1]] = parsed
    return load_settings(cls, overrides=record)


def values_of(settings: Any, fields: Sequence[FormField]) -> list[Any]:
    """What the components of a form show for some settings."""
    record = settings_to_record(settings)
    values = []
    for field in fields:
        value: Any = record
        for name in field.path:
            value = value[name]
        values.append("" if field.kind == "text" and value is None else str(value) if field.kind == "text" else value)
    return values


def _parse(field: FormField, value: Any) -> Any:
    if field.kind == "text":
        text = str(value or "").strip()
        if not text:
            return None if field.default is None else field.default
        number = _number(text)
        return text if number is None else number
    if value is None:
        raise SettingsError(f"{'.'.join(field.path)} is empty", remedy=f"the default is {field.default}")
    return value


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _kind_of(hint: Any) -> tuple[FieldKind | None, tuple[Any, ...]]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _kind_of(arguments[0])
    if hint is bool:
        return "bool", ()
    if hint in (int, float):
        return ("int" if hint is int else "float"), ()
    if origin is Literal:
        return "choice", arguments
    if hint is str:
        return "text", ()
    parts = [part for part in arguments if part is not type(None)]
    if parts and all(_kind_of(part)[0] in ("int", "float", "choice") for part in parts) and Path not in parts:
        return "text", ()
    return None, ()
