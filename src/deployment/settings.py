"""The settings of a deployment: every key, its default and its meaning, in one place.

A value comes from the first of: an argument of `load`, the environment (`OPPORTUNE_<KEY>`, upper case), the file
`opportune.toml` in the working directory (or the one that `OPPORTUNE_CONFIG` names; empty means none), the default.
`REDIS_URL` without the prefix is understood too. An unknown key is an error that names the nearest known one.
No other module reads the environment.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from behavior.errors import BadInput
from deployment.access_settings import AccessSettings
from deployment.setting_types import MemorySize, Place, Port, Property, RedisUrl, Rewards, Zone, names_cluster

_PREFIX = "OPPORTUNE_"
_CONFIG = "OPPORTUNE_CONFIG"
_DEFAULT_FILE = Path("opportune.toml")


def _in_home(name: str) -> Any:
    """A path below `home` unless given: a field whose default is made from the fields before it."""
    return lambda data: data["home"] / name


class Settings(AccessSettings, BaseSettings):
    """One frozen object that says everything a deployment can be told."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", validate_default=True
    )

    home: Path = Field(
        Path("var"), description="Directory of all that is made: every path below lies in it unless set."
    )
    archive: Path = Field(default_factory=_in_home("archive"), description="Archive of admitted events, Parquet.")
    tables: Path = Field(default_factory=_in_home("tables"), description="Change-point tables that `backfill` writes.")
    registry: Path = Field(default_factory=_in_home("registry.db"), description="Feast's registry.")
    plan: Path = Field(default_factory=_in_home("plan.json"), description="The plan that `apply` compiles.")
    bundles: Place = Field(
        default_factory=_in_home("bundles"),
        description="Trained models and the pointers to them: a directory, or a URL of fsspec (`s3://bucket/bundles`).",
    )
    target: str = Field(
        "purchase_7d", pattern=r"^[a-z0-9_]{1,64}$", description="The target whose current bundle ranks."
    )
    bundle_signing_key_file: Path | None = Field(
        None, description="Secret key that new bundles are signed with, readable by its owner only."
    )
    bundle_verify_keys_file: Path | None = Field(
        None, description="Public keys, one a line. If set, a bundle that none of them has signed is refused."
    )
    run: Path = Field(
        default_factory=_in_home("run"),
        description="What belongs to running processes: logs, addresses, Redis's files.",
    )
    key_file: Path = Field(
        default_factory=_in_home("pseudonym.key"),
        description="Secret key of the pseudonyms, readable by its owner only.",
    )
    sealing_key_file: Path = Field(
        default_factory=_in_home("sealing.key"),
        description="Secret key that rejected events are sealed with, readable by its owner only.",
    )
    placements: Path | None = Field(
        None,
        description="File of the placements, TOML. Without one every request gets the built-in default. A running "
        "server follows its changes; `opportune placements FILE` checks one.",
    )
    feature_repo: Path = Field(Path("feature_repo"), description="Directory of the feature definitions.")

    redis_url: RedisUrl = Field(
        None,
        repr=False,
        description="Redis to use, also read from `REDIS_URL`. Without one, `up` starts a Redis of its own.",
    )
    redis_password_file: Path | None = Field(
        None, description="File that holds the password for `redis_url`, so that it stands in no environment."
    )
    redis_cluster: bool = Field(
        False, description="`redis_url` names a node of a Redis Cluster; the other nodes are found through it."
    )
    redis_prefix: str = Field(
        "opportune",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="First part of every Redis key; so deployments can share a Redis without meeting.",
    )
    redis_high_water: float = Field(
        0.85,
        gt=0,
        lt=1,
        description="Share of Redis's maxmemory from which on events are refused, so that consumers can still commit.",
    )
    partitions: int = Field(
        64, ge=1, le=1000, description="Partitions of the log and of the archive. Changed only by a rebuild."
    )

    host: str = Field("127.0.0.1", description="Address on which a process listens, gRPC and metrics alike.")
    port: Port = Field(50051, description="Port of the gRPC server. `up` chooses a free one unless this is set.")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Server processes that share the port of `serve`. From 2 on they are supervised: one that dies is "
        "started again, and SIGHUP replaces them one by one without a failed call.",
    )
    evaluator: Literal["masks", "onnx"] = Field(
        "masks",
        description="Who evaluates a bundle's trees in the server: compiled masks of leaves where they are exact for "
        "the bundle, else and with `onnx` ONNX Runtime. The answers are the same, bit for bit.",
    )
    metrics_port: Port = Field(0, description="Port of a process's `/metrics`; 0 takes a free one.")

    zone: Zone = Field("UTC", description="IANA time zone of users whose offset is not known.")
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="The one base currency of all amounts, ISO 4217.")
    properties: dict[str, Property] = Field(
        default_factory=dict,
        description='Free properties that events may carry, each `{scale = 2}` or `{kind = "text"}`; no others.',
    )
    lateness_horizon_h: int = Field(
        48, ge=1, le=8760, description="Events older than this at admission are refused as too late (hours)."
    )
    dead_letters: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Rejected events that a partition keeps, sealed, for the lateness horizon; the oldest go first.",
    )
    attribution_window_h: int = Field(
        168,
        ge=1,
        le=8760,
        description="What a user does this long after something was shown can be its outcome (hours).",
    )
    rewards: Rewards = Field(
        {"purchase": 1.0},
        description="The kinds of events that are outcomes of what was shown, each with what it earns, 0 to 1: "
        "`{click = 0.1, purchase = 1}`. What was shown earns the greatest of its outcomes.",
    )
    learned_outcome: str = Field(
        "purchase", description="The outcome whose probability the margins state; one of `rewards`."
    )
    impressions: Literal["required", "assumed"] = Field(
        "required",
        description="Whether only what an `impression` event confirmed counts as seen and, without an outcome, as a "
        "negative. `assumed` takes all that was shown as seen: for callers that send no impressions.",
    )
    residual_bound: float = Field(
        3.0, ge=0, le=10, description="Largest correction that the learner may add to a margin, either way (logits)."
    )

    learner_shards: int = Field(
        1,
        ge=1,
        le=256,
        description="Shards of personas that learner processes share; as many of these can work at once. With another "
        "number the learner starts anew.",
    )

    lease_s: float = Field(
        3.0, ge=0.1, le=60, description="After a process died, its partitions are taken over in so long (seconds)."
    )
    log_keep_s: float = Field(
        3600.0, ge=0, description="Archived entries stay in the log for so long even if all consumers have read them."
    )
    log_max_entries: int = Field(
        100_000,
        ge=1,
        description="Most archived entries of a partition that stay in the log; a consumer that is slower reads the "
        "archive.",
    )

    memory_limit: MemorySize = Field("1500MB", description="Memory that DuckDB may use.")
    threads: int | None = Field(None, ge=1, le=1024, description="Threads that DuckDB may use; all cores unless set.")

    replay: bool = Field(
        False, description="The clock starts at a chosen instant and is advanced by hand. For demonstrations and tests."
    )
    production: bool = Field(False, description="Refuses what only belongs on a desk, such as `replay`.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.production and self.replay:
            raise ValueError("production and replay exclude each other: in production nobody sets the clock")
        if self.redis_password_file is not None and self.redis_url is None:
            raise ValueError("redis_password_file is the password for redis_url, which is not set")
        if self.learned_outcome not in self.rewards:
            raise ValueError(f"learned_outcome is {self.learned_outcome}, which is none of rewards; give it a reward")
        if self.redis_cluster and not names_cluster(self.redis_url):
            raise ValueError(
                "redis_cluster says that redis_url names a node of a cluster, like redis://host:6379; "
                "no socket, and no database but 0"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from, the strongest first."""
        plain = {"redis_url": os.environ["REDIS_URL"]} if os.environ.get("REDIS_URL") else {}
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, plain),
            InitSettingsSource(settings_cls, _file_values()),
        )

    @property
    def redis_address(self) -> str:
        """The Redis URL without its credentials, fit to be shown; "none" if there is none."""
        if self.redis_url is None:
            return "none"
        parts = urlsplit(self.redis_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    @property
    def thread_count(self) -> int:
        """The threads that DuckDB may use, as a number."""
        return self.threads or os.cpu_count() or 1

    def chosen(self, key: str) -> bool:
        """Whether somebody gave the key a value, so that its default does not apply."""
        return key in self.model_fields_set

    def replaced(self, **changes: Any) -> "Settings":
        """The same settings with some keys changed. Raises BadInput."""
        return _validated({**{key: getattr(self, key) for key in self.model_fields_set}, **changes})

    def child_environment(self) -> dict[str, str]:
        """The whole environment for a child process: inherited, with these settings in place of any other.

        The child reads no settings file, so that it cannot come to different conclusions.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
        values = self._own_values()
        if self.redis_password_file is not None and self.redis_url is not None:
            # The child reads the file itself; the password stands in no environment.
            values["redis_url"] = _without_password(self.redis_url)
        own = {_PREFIX + key.upper(): _as_text(value) for key, value in values.items() if value is not None}
        return {**inherited, **own, _CONFIG: ""}

    def _own_values(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in type(self).model_fields}


def load(**overrides: Any) -> Settings:
    """The settings of this process. Raises BadInput that names the key, where it stands and what it should be."""
    _refuse_unknown(_environment_keys(), "the environment", lambda key: _PREFIX + key.upper())
    _refuse_unknown(overrides, "the arguments", str)
    return _validated(overrides)


def reference() -> str:
    """The table of all keys as Markdown: what `docs/reference/settings.md` holds."""
    keys = sorted(Settings.model_fields, key=lambda key: key in AccessSettings.model_fields)  # who may reach it: last
    rows = [
        f"| `{key}` | `{_PREFIX}{key.upper()}` | {_shown_default(key)} | {Settings.model_fields[key].description} |"
        for key in keys
    ]
    head = (__doc__ or "").partition("\n\n")[2].replace("\nNo other module reads the environment.\n", "\n")
    title = "# Settings\n\n<!-- Generated by `make reference` from src/deployment/settings.py. -->\n"
    return "\n".join([title, head, "| key | environment | default | meaning |", "|---|---|---|---|", *rows, ""])


def _validated(values: Mapping[str, Any]) -> Settings:
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise BadInput(_told(error, values)) from None
    if settings.redis_password_file is None or settings.redis_url is None:
        return settings
    return settings.model_copy(update={"redis_url": _with_password(settings.redis_url, settings.redis_password_file)})


def _told(error: ValidationError, arguments: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that says where."""
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not first["loc"]:
        return f"settings: {message}"
    key = str(first["loc"][0])
    path = ".".join(str(part) for part in first["loc"])
    if key in arguments:
        return f"settings: {path}: {message}"
    if os.environ.get(_PREFIX + key.upper()):
        return f"{_PREFIX}{key.upper()} in the environment: {message}"
    return f"{_settings_file()}, key {path}: {message}"


def _environment_keys() -> list[str]:
    return [name.removeprefix(_PREFIX).lower() for name in os.environ if name.startswith(_PREFIX) and name != _CONFIG]


def _refuse_unknown(keys: Any, where: str, spelled: Any) -> None:
    for key in sorted(set(keys) - set(Settings.model_fields)):
        near = get_close_matches(key, Settings.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {spelled(near[0])}?" if near else "docs/reference/settings.md lists them all"
        raise BadInput(f"{spelled(key)} in {where} is no setting; {hint}")


def _settings_file() -> Path | None:
    """The settings file of this process, or None if there is none. Raises BadInput if a named one is missing."""
    named = os.environ.get(_CONFIG)
    if named is None:
        return _DEFAULT_FILE if _DEFAULT_FILE.is_file() else None
    if not named:
        return None
    if not Path(named).is_file():
        raise BadInput(f"{_CONFIG} names {named}, and there is no such file")
    return Path(named)


def _file_values() -> dict[str, Any]:
    path = _settings_file()
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    _refuse_unknown(values, str(path), str)
    return values


def _with_password(url: str, file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"redis_password_file {file} cannot be read: {type(error).__name__}") from None
    parts = urlsplit(url)
    user = parts.username or ""
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, place = parts.username or "", parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{place}" if user else place))


def _as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value.resolve())  # a child, or Feast, may stand in another directory
    if isinstance(value, dict):
        return json.dumps(value, default=lambda member: member.model_dump(exclude_none=True))
    return str(value)


def _shown_default(key: str) -> str:
    default = Settings.model_fields[key].get_default(call_default_factory=True, validated_data={"home": Path("<home>")})
    if default in (None, {}):
        return "none"
    return f"`{json.dumps(default) if isinstance(default, dict) else default}`"


if __name__ == "__main__":
    print(reference(), end="")
