"""Owns settings files: any frozen settings dataclass from a preset, a YAML file and overrides, and back to YAML."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from scene3d.errors import SettingsError
from scene3d.io.atomic import write_text
from scene3d.limits import MAX_SETTINGS_BYTES

Record = Mapping[str, object]
Settings = TypeVar("Settings")
"""Any frozen dataclass."""


def load_settings(
    cls: type[Settings],
    file: Path | None = None,
    overrides: Record | None = None,
    *,
    preset: Record | None = None,
) -> Settings:
    """Settings of one class from up to three sources; later ones win: preset, file, overrides.

    Args:
        cls: A dataclass whose fields are plain values or dataclasses of the same kind.
        file: YAML file with any part of the settings.
        overrides: Nested values by field name, stronger than the file.
        preset: Nested values by field name, weaker than the file.

    Raises:
        SettingsError: A key is unknown, a value has the wrong type, or the class itself refuses a value.
    """
    merged: Record = {}
    for layer, where in ((preset, "preset"), (file and read_record(file), str(file)), (overrides, None)):
        if layer:
            _check_record(cls, layer, where=where)
            merged = _merge(merged, layer)
    return settings_from_record(cls, merged, where=file)


def settings_from_record(cls: type[Settings], record: Record, *, where: str | Path | None = None) -> Settings:
    """Settings from nested plain values; what the record leaves out keeps its default.

    Raises:
        SettingsError: A key is unknown, a value has the wrong type, or the class itself refuses a value.
    """
    values = _check_record(cls, record, where=None if where is None else str(where))
    return cls(**values)


def settings_to_record(settings: Any) -> dict[str, object]:
    """Settings as nested plain values that YAML and JSON can hold."""
    return {part.name: _to_plain(getattr(settings, part.name)) for part in dataclasses.fields(settings)}


def write_settings(path: Path, settings: Any) -> None:
    """Write all settings, defaults included, as YAML that `load_settings` reads back."""
    body = yaml.safe_dump(settings_to_record(settings), sort_keys=False, allow_unicode=True)
    write_text(path, f"# Every setting of this run; `--config` with this file repeats it.\n{body}")


def read_record(path: Path) -> dict[str, object]:
    """The mapping a YAML file holds.

    Raises:
        SettingsError: The file is missing, too large, no YAML, or not a mapping.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        raise SettingsError(error.strerror or str(error), where=path, remedy="give the path of a YAML file") from None
    if len(raw) > MAX_SETTINGS_BYTES:
        raise SettingsError(f"more than {MAX_SETTINGS_BYTES:,} bytes are no settings file", where=path)
    try:
        record = _parse(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"not readable as YAML ({_first_line(error)})", where=path) from None
    if record is None:
        return {}
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
        raise SettingsError(
            "holds no mapping of names to values", where=path, remedy="write lines like `iterations: 7000`"
        )
    return record


def choose_preset(presets: Mapping[str, Record], name: str) -> Record:
    """The preset of that name.

    Raises:
        SettingsError: There is none; the message lists them.
    """
    if name not in presets:
        raise SettingsError(f"there is no preset '{name}'", remedy=f"choose {_one_of(presets)}")
    return presets[name]


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases (small files could unfold to gigabytes) and without repeated keys (one would be lost)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"'{name}' stands there twice")
        return super().construct_mapping(node, deep=deep)


def _parse(text: str) -> object:
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
    return problem if mark is None else f"{problem}, line {mark.line + 1}"


def _merge(weak: Record, strong: Record) -> Record:
    merged = dict(weak)
    for key, value in strong.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _check_record(cls: type[Any], record: Record, *, where: str | None, prefix: str = "") -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    known = {part.name: hints[part.name] for part in dataclasses.fields(cls) if part.init}
    values = {}
    for key, value in record.items():
        if key not in known:
            raise SettingsError(f"unknown setting '{prefix}{key}'", where=where, remedy=_suggest(key, known))
        values[key] = _convert(known[key], value, f"{prefix}{key}", where)
    return values


def _suggest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(key), list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"


def _one_of(names: Iterable[object]) -> str:
    *others, last = [str(name) for name in names]
    return f"{', '.join(others)} or {last}" if others else last


def _convert(kind: Any, value: object, name: str, where: str | None) -> Any:
    """The value as the field's type wants it, or a `SettingsError` that names the setting."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _convert(arguments[0], value, name, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise _wrong(name, value, _one_of(arguments), where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert_union([each for each in arguments if each is not type(None)], value, name, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, name, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise _wrong(name, value, "a group of settings", where)
        return kind(**_check_record(kind, value, where=where, prefix=f"{name}."))
    return _convert_scalar(kind, value, name, where)


def _convert_union(kinds: list[Any], value: object, name: str, where: str | None) -> Any:
    """The value as the first kind that takes it; where none does, the error of the last."""
    for kind in kinds[:-1]:
        try:
            return _convert(kind, value, name, where)
        except SettingsError:
            continue
    return _convert(kinds[-1], value, name, where)


def _convert_tuple(kinds: tuple[Any, ...], value: object, name: str, where: str | None) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(name, value, "a list", where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong(name, value, f"a list of {len(kinds)}", where)
    return tuple(
        _convert(kind, each, f"{name}[{i}]", where) for i, (kind, each) in enumerate(zip(kinds, value, strict=True))
    )


def _convert_scalar(kind: Any, value: object, name: str, where: str | None) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise _wrong(name, value, "true or false", where)
    if kind in (int, float):
        number = _find_number(value)
        if number is None or (kind is int and number != int(number)):
            raise _wrong(name, value, "a whole number" if kind is int else "a number", where)
        return value if type(value) is kind else kind(number)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is str and isinstance(value, str):
        return value
    if kind in (str, Path):
        raise _wrong(name, value, "text", where)
    raise TypeError(f"setting '{name}' has a type that settings files cannot hold: {kind}")


def _find_number(value: object) -> float | None:
    # YAML 1.1 reads `1e-3` (no dot) as text, so text that is a number counts as one.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _wrong(name: str, value: object, expected: str, where: str | None) -> SettingsError:
    shown = repr(value)
    return SettingsError(
        f"{name} is {shown if len(shown) <= 60 else shown[:57] + '...'}; it must be {expected}", where=where
    )


def _to_plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return settings_to_record(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_to_plain(each) for each in value]
    return value
