"""Kubernetes' links: for each Service of its namespace, variables in every container, which look like settings of holdfast.

A Service "holdfast" makes HOLDFAST_PORT=tcp://10.0.0.1:50051, HOLDFAST_SERVICE_HOST and more, a Service "holdfast-metrics"
HOLDFAST_METRICS_PORT (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
"""

import re
from ipaddress import ip_address

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

_URL = re.compile(r"(?:tcp|udp|sctp)://(?P<host>[^/]+):\d{1,5}")
_NUMBER = re.compile(r"\d{1,5}")


def is_service_link(name: str, value: str) -> bool:
    """Whether a variable is one of those, by its name and by its value: an operator's own HOLDFAST_PORT is a number."""
    name = name.upper()
    if re.search(r"_PORT(_\d{1,5}_(TCP|UDP|SCTP))?$", name) and (url := _URL.fullmatch(value)):
        return _is_address(url["host"])
    if re.search(r"_PORT_\d{1,5}_(TCP|UDP|SCTP)_PROTO$", name):
        return value in {"tcp", "udp", "sctp"}
    if re.search(r"_PORT_\d{1,5}_(TCP|UDP|SCTP)_PORT$|_SERVICE_PORT(_[A-Z0-9_]+)?$", name):
        return _NUMBER.fullmatch(value) is not None
    if re.search(r"_PORT_\d{1,5}_(TCP|UDP|SCTP)_ADDR$|_SERVICE_HOST$", name):
        return _is_address(value)
    return False


class WithoutServiceLinks(BaseSettings):
    """Settings that do not take a link for one of them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment; flags go before both. Called by pydantic."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _OperatorEnvironment(settings_cls)


class _OperatorEnvironment(EnvSettingsSource):
    """The environment without links."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name: value for name, value in self.env_vars.items() if not is_service_link(name, value or "")}


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
