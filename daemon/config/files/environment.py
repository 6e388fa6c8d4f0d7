"""Variables of the environment that set keys of the configuration: CXRD_<SECTION>__<KEY>."""

import os
from collections.abc import Collection

from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from daemon.config.files.yaml_file import first_mistake, nearest
from daemon.errors import ConfigError

ENVIRONMENT_PREFIX = "CXRD_"


def check_environment(settings: type[BaseSettings], keys: Collection[str]) -> None:
    """Raise ConfigError for an unknown variable, or one whose value is malformed."""
    source = EnvSettingsSource(settings)
    known = {ENVIRONMENT_PREFIX + key.replace(".", "__").upper() for key in keys}
    sections = {name.split("__")[0] for name in known}
    for name in sorted(os.environ):
        if not name.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        if name.upper() not in known | sections:
            raise ConfigError(f"environment: unknown key {name}{nearest(name.upper(), known)}")
        source.env_vars = {name.lower(): os.environ[name]}
        try:
            source()
        except SettingsError:
            raise ConfigError(
                f'environment: {name} must be JSON: {{"key": …}} for a section, […] for a list'
            ) from None


def variable_of(errors: list[ErrorDetails]) -> str:
    """Return the variable that the first mistake is in; empty if it is in the file."""
    keys = [str(part) for part in first_mistake(errors)["loc"]]
    names = {name.upper(): name for name in os.environ}
    for depth in range(len(keys), 0, -1):
        variable = (ENVIRONMENT_PREFIX + "__".join(keys[:depth])).upper()
        if variable in names:
            return f"environment: {names[variable]}"
    return ""
