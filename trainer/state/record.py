"""A configuration as a checkpoint records it: JSON, with the names of its classes; two of them compared; and one read back."""

import json
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from holdfast.trainer.config import TrainConfig


def plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON knows it, with the name of each part that could be of another class: encoder, objectives."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    _name_classes(config, values)
    return values


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version's `plain` returned, with the fields added since: their defaults are what was done before.

    Names of encoders and objectives that this holdfast does not know are left as they are.
    """
    return _with_defaults(TrainConfig, record)


def config_from(record: dict[str, Any]) -> TrainConfig:
    """Inverse of `plain`.

    Raises:
        KeyError, TypeError, ValueError: a name or a field that this holdfast does not know, or a value out of range.

    """
    config: TrainConfig = _value_of(TrainConfig, completed(record))
    return config


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists by dotted name: {"stages": [{"steps": 3}]} -> {"stages.0.steps": 3}."""
    match values:
        case dict():
            items = list(values.items())
        case list():
            items = list(enumerate(values))
        case _:
            return {prefix: values}
    return {k: v for name, inner in items for k, v in flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()}


def _hints_of(kind: Any) -> dict[str, Any]:
    hints: dict[str, Any] = get_type_hints(kind)
    return hints


def _classes_of(hint: Any) -> dict[str, Any]:
    """The dataclasses that a value of this type may be of, by name; none where there is no choice among several."""
    found = [kind for kind in get_args(hint) if is_dataclass(kind)] if get_origin(hint) in {Union, UnionType} else []
    return {kind.__name__: kind for kind in found if isinstance(kind, type)} if len(found) > 1 else {}


def _name_classes(value: Any, record: dict[str, Any]) -> None:
    for field in fields(value):
        inner, written = getattr(value, field.name), record[field.name]
        for part, entry in zip(inner, written, strict=True) if isinstance(inner, tuple) else [(inner, written)]:
            if is_dataclass(part):
                _name_classes(part, entry)
        if _classes_of(_hints_of(type(value))[field.name]):
            written["type"] = type(inner).__name__


def _with_defaults(kind: Any, record: dict[str, Any]) -> dict[str, Any]:
    whole = dict(record)
    for field in fields(kind):
        if field.name not in whole:
            default = _default_of(field)
            if default is not MISSING:
                value = asdict(default) if is_dataclass(default) and not isinstance(default, type) else default
                whole[field.name] = json.loads(json.dumps(value, default=str))
                if _classes_of(_hints_of(kind)[field.name]):
                    whole[field.name]["type"] = type(default).__name__
            continue
        whole[field.name] = _completed_value(_hints_of(kind)[field.name], whole[field.name])
    return whole


def _completed_value(hint: Any, value: Any) -> Any:
    if isinstance(value, list) and get_origin(hint) is tuple:
        return [_completed_value(get_args(hint)[0], each) for each in value]
    if not isinstance(value, dict):
        return value
    classes = _classes_of(hint)
    if classes and "type" not in value:
        # There was no choice when this was written; the class is the one that has such fields.
        able = [name for name, kind in classes.items() if value.keys() <= {field.name for field in fields(kind)}]
        value = value | {"type": able[0]} if len(able) == 1 else value
    kind = classes.get(value.get("type", "")) or (hint if is_dataclass(hint) else None)
    return value if kind is None else _with_defaults(kind, value)


def _default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _value_of(hint: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        entries = dict(value)
        choice = _classes_of(hint)
        kind = choice[entries.pop("type")] if choice else hint
        return kind(**{name: _value_of(_hints_of(kind)[name], each) for name, each in entries.items()})
    if isinstance(value, list):
        inner = get_args(hint)
        each_of = inner[:1] * len(value) if Ellipsis in inner else inner
        return tuple(_value_of(kind, each) for kind, each in zip(each_of, value, strict=True))
    return Path(value) if Path in (hint, *get_args(hint)) else value
