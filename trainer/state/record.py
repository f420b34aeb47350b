"""A configuration as a checkpoint records it: JSON, with the names of its classes; and two of them compared."""

import json
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any, get_args

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import EncoderConfig
from holdfast.trainer.objectives import ObjectiveConfig


def plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON knows it, with the names of the encoder and of each objective."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    values["encoder"]["type"] = type(config.encoder).__name__
    for stage, record in zip(config.stages, values["stages"], strict=True):
        record["objective"]["type"] = type(stage.objective).__name__
    return values


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version's `plain` returned, with the fields added since: their defaults are what was done before.

    Names of encoders and objectives that this holdfast does not know are left as they are.
    """
    whole = _with_defaults(TrainConfig, record)
    whole["encoder"] = _with_defaults(_named(whole["encoder"], EncoderConfig), whole["encoder"])
    whole["stages"] = [_with_defaults(Stage, stage) for stage in whole["stages"]]
    for stage in whole["stages"]:
        stage["objective"] = _with_defaults(_named(stage["objective"], ObjectiveConfig), stage["objective"])
    return whole


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


def _named(record: dict[str, Any], union: Any) -> Any:
    return {kind.__name__: kind for kind in get_args(union)}.get(record.get("type", ""))


def _with_defaults(kind: Any, record: dict[str, Any]) -> dict[str, Any]:
    if kind is None:
        return record
    whole = dict(record)
    for field in fields(kind):
        default = _default_of(field)
        if is_dataclass(default) and isinstance(whole.get(field.name), dict):
            whole[field.name] = _with_defaults(type(default), whole[field.name])
        elif field.name not in whole and default is not MISSING:
            value = asdict(default) if is_dataclass(default) and not isinstance(default, type) else default
            whole[field.name] = json.loads(json.dumps(value, default=str))
    return whole


def _default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
