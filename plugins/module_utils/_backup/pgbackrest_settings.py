# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The configuration of pgBackRest: written from typed options, and read to know what a host really does.

What is secret has a file of its own in ``conf.d``, which only its owner can
read. It is never in an argument, and never read into an object here.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL

TOOL = "pgbackrest"
DIRECTORY = "/etc/pgbackrest"
MAIN = "pgbackrest.conf"
SECRETS = "conf.d/secrets.conf"
SECRETS_MODE = 0o600

POSIX = "posix"
S3 = "s3"
TYPES = (POSIX, S3)
# Which sets stay is decided by the sets' own retention. With this number pgBackRest never removes a thing by itself.
FOREVER = 9999999
# Shorter ones can be guessed by whoever gets hold of an object store.
SHORTEST_PASSPHRASE = 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]")
_LEVELS = ("off", "error", "warn", "info", "detail", "debug", "trace")
_SECRET_KEYS = re.compile(r"(?:repo[0-9]+-)?(?:cipher-pass|s3-key|s3-key-secret|s3-token|azure-key|gcs-key)")


# --- what is wanted


@dataclass(frozen=True)
class ObjectStore:
    """An object store that speaks S3.

    ``endpoint`` is a host name. ``ca_file`` is for a certificate that the
    host's own authorities did not sign; certificates are always verified.
    """

    bucket: str
    endpoint: str
    region: str = "us-east-1"
    port: int = 443
    uri_style: str = "host"
    ca_file: str | None = None


@dataclass(frozen=True)
class Repository:
    """Where backups and the log are kept. Without ``store`` it is a directory of this host."""

    path: str
    store: ObjectStore | None = None
    encrypted: bool = True


@dataclass(frozen=True)
class Settings:
    """All that the configuration of a database host is made of; the first repository is number 1.

    ``socket`` is the directory of the server's socket. ``queue_bytes`` is how
    much of the log may be fetched ahead in a recovery.
    """

    stanza: str
    data_directory: str
    repositories: tuple[Repository, ...]
    port: int = 5432
    socket: str = "/var/run/postgresql"
    user: str | None = None
    processes: int = 2
    push_processes: int = 2
    compression: str = "zst"
    level: int = 3
    asynchronous: bool = True
    spool: str = "/var/spool/pgbackrest"
    log_directory: str = "/var/log/pgbackrest"
    lock_directory: str | None = None
    file_level: str = "info"
    console_level: str = "warn"
    queue_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True)
class Secrets:
    """What opens one repository. Nothing of it is ever shown."""

    passphrase: str | None = None
    access_key: str | None = None
    secret_key: str | None = None

    def __repr__(self) -> str:
        return "Secrets(hidden)"


def problems(settings: Settings, secrets: t.Sequence[Secrets] | None = None) -> list[str]:
    """Return what is wrong with settings, a sentence each. ``secrets`` are one for each repository, in order."""
    found = []
    if not _NAME.fullmatch(settings.stanza):
        found.append(f"stanza: {settings.stanza!r} is no name; use letters, digits, '_' and '-'")
    for option in ("data_directory", "socket", "spool", "log_directory", "lock_directory"):
        path = getattr(settings, option)
        if path is not None and (problem := _path_problem(path)):
            found.append(f"{option}: {path!r} {problem}")
    for option, least, most in (("port", 1, 65535), ("processes", 1, 999), ("push_processes", 1, 999)):
        if not least <= getattr(settings, option) <= most:
            found.append(f"{option}: {getattr(settings, option)} is not from {least} to {most}")
    if settings.queue_bytes < 1:
        found.append(f"queue_bytes: {settings.queue_bytes} is not above 0")
    if settings.compression not in ("zst", "lz4", "gz"):
        found.append(f"compression: {settings.compression!r} is none of zst, lz4 and gz")
    elif not 1 <= settings.level <= (22 if settings.compression == "zst" else 9):
        found.append(f"level: {settings.level} is no level of {settings.compression}; 3 is a good one for zst")
    for option in ("file_level", "console_level"):
        if getattr(settings, option) not in _LEVELS:
            found.append(f"{option}: {getattr(settings, option)!r} is none of {', '.join(_LEVELS)}")
    if not settings.repositories:
        found.append("repositories: there is none; name one at least")
    for number, repository in enumerate(settings.repositories, 1):
        found += [f"repositories[{number}]: {problem}" for problem in _repository_problems(repository, settings)]
    paths = [repository.path for repository in settings.repositories if not repository.store]
    if len(set(paths)) < len(paths):
        found.append("repositories: two of them are the same directory")
    if secrets is not None:
        found += _secrets_problems(settings.repositories, secrets)
    return found


def _path_problem(path: str) -> str | None:
    if not os.path.isabs(path) or path == "/" or os.path.normpath(path) != path:
        return "is no plain absolute path"
    return None if path.isprintable() and path == path.strip() else "has characters that no line of a file can have"


def _repository_problems(repository: Repository, settings: Settings) -> t.Iterator[str]:
    problem = _path_problem(repository.path)
    if problem:
        yield f"path {repository.path!r} {problem}"
    store = repository.store
    if store is None:
        for other, words in ((settings.data_directory, "data directory"), (settings.spool, "spool")):
            plain = not problem and not _path_problem(other)
            if plain and (_within(repository.path, other) or _within(other, repository.path)):
                yield f"path {repository.path} and the {words} {other} lie in each other; choose another place"
        return
    if not _BUCKET.fullmatch(store.bucket):
        yield f"bucket {store.bucket!r} is no name of a bucket"
    if not _HOST.fullmatch(store.endpoint):
        yield f"endpoint {store.endpoint!r} is no name of a host; give it without https:// and without a port"
    if not _HOST.fullmatch(store.region):
        yield f"region {store.region!r} is no name of a region"
    if not 1 <= store.port <= 65535:
        yield f"port {store.port} is not from 1 to 65535"
    if store.uri_style not in ("host", "path"):
        yield f"uri_style {store.uri_style!r} is neither host nor path"
    if store.ca_file is not None and (problem := _path_problem(store.ca_file)):
        yield f"ca_file {store.ca_file!r} {problem}"
    if not repository.encrypted:
        yield "an object store gets all messages and passwords of the deployment, so its repository must be encrypted"


def _secrets_problems(repositories: t.Sequence[Repository], secrets: t.Sequence[Secrets]) -> t.Iterator[str]:
    if len(secrets) != len(repositories):
        yield f"secrets: there are {len(secrets)}, and {len(repositories)} repositories"
    for number, (repository, secret) in enumerate(zip(repositories, secrets), 1):
        wanted = {"passphrase": repository.encrypted, "access_key": bool(repository.store)}
        wanted["secret_key"] = bool(repository.store)
        for option, needed in wanted.items():
            value = getattr(secret, option)
            if needed and not value:
                yield f"repositories[{number}]: {option} is missing"
            elif value and (not value.isprintable() or value != value.strip()):
                yield f"repositories[{number}]: {option} has characters that no line of a file can have"
        if secret.passphrase and len(secret.passphrase) < SHORTEST_PASSPHRASE:
            yield (
                f"repositories[{number}]: passphrase has less than {SHORTEST_PASSPHRASE} characters; make one with "
                "'openssl rand -base64 48', and keep it where the loss of this host does not reach it"
            )


def _within(path: str, directory: str) -> bool:
    return os.path.commonpath([path, directory]) == directory


def render(settings: Settings) -> str:
    """Return the text of pgbackrest.conf. It holds no secret."""
    if found := problems(settings):
        raise BackupError(INTERNAL, "; ".join(found))
    lines = ["[global]"]
    for number, repository in enumerate(settings.repositories, 1):
        lines += [f"repo{number}-{name}={value}" for name, value in _repository_lines(repository)]
    lines += [
        f"compress-type={settings.compression}",
        f"compress-level={settings.level}",
        f"process-max={settings.processes}",
        f"spool-path={settings.spool}",
        f"log-path={settings.log_directory}",
        *([f"lock-path={settings.lock_directory}"] if settings.lock_directory else []),
        f"log-level-file={settings.file_level}",
        f"log-level-console={settings.console_level}",
        "log-level-stderr=off",
        "start-fast=y",
        # No room is made by itself: that is decided over whole sets.
        "expire-auto=n",
        f"archive-async={_flag(settings.asynchronous)}",
        f"archive-get-queue-max={settings.queue_bytes}",
        "",
        "[global:archive-push]",
        f"process-max={settings.push_processes}",
        "",
        "[global:archive-get]",
        f"process-max={settings.push_processes}",
        "",
        f"[{settings.stanza}]",
        f"pg1-path={settings.data_directory}",
        f"pg1-port={settings.port}",
        f"pg1-socket-path={settings.socket}",
        *([f"pg1-user={settings.user}"] if settings.user else []),
    ]
    return "\n".join(lines) + "\n"


def _flag(value: bool) -> str:
    return "y" if value else "n"


def _repository_lines(repository: Repository) -> t.Iterator[tuple[str, t.Any]]:
    store = repository.store
    yield "type", S3 if store else POSIX
    yield "path", repository.path
    if store:
        yield "s3-bucket", store.bucket
        yield "s3-endpoint", store.endpoint
        yield "s3-region", store.region
        yield "s3-uri-style", store.uri_style
        yield "storage-port", store.port
        yield "storage-verify-tls", "y"
        if store.ca_file:
            yield "storage-ca-file", store.ca_file
    yield "cipher-type", "aes-256-cbc" if repository.encrypted else "none"
    yield "bundle", "y"
    yield "block", "y"
    yield "retention-full-type", "count"
    yield "retention-full", FOREVER


def render_secrets(settings: Settings, secrets: t.Sequence[Secrets]) -> str:
    """Return the text of conf.d/secrets.conf, which belongs to the server's OS user and has the mode SECRETS_MODE."""
    if found := problems(settings, secrets):
        raise BackupError(INTERNAL, "; ".join(found))
    lines = ["[global]"]
    for number, (repository, secret) in enumerate(zip(settings.repositories, secrets), 1):
        if repository.encrypted:
            lines.append(f"repo{number}-cipher-pass={secret.passphrase}")
        if repository.store:
            lines.append(f"repo{number}-s3-key={secret.access_key}")
            lines.append(f"repo{number}-s3-key-secret={secret.secret_key}")
    return "\n".join(lines) + "\n"


def archive_command(stanza: str, directory: str = DIRECTORY) -> str:
    """Return what the server's setting archive_command must be."""
    base = f"{TOOL} {_quoted('--config-path=' + directory)} " if directory != DIRECTORY else f"{TOOL} "
    return f"{base}--stanza={stanza} archive-push %p"


def restore_command(stanza: str, repository: int, directory: str = DIRECTORY) -> str:
    """Return the command with which recovery fetches a file of the log.

    Only "it is not there" may end recovery: what cannot be reached, or is
    damaged, must not pass for the end of the log, and a code above 125 makes
    the server give up. Nothing is fetched ahead, because the directory for
    that belongs to the host's own server. The server runs this in its data
    directory, whatever that is called by then.
    """
    fetch = (
        f"{TOOL} {_quoted('--config-path=' + directory)} --stanza={stanza} --repo={repository} "
        '--pg1-path="$(pwd -P)" --no-archive-async --log-level-console=off --log-level-stderr=warn archive-get %f "%p"'
    )
    return f"{fetch}; code=$?; [ $code -le 1 ] || exit 126; exit $code"


def _quoted(word: str) -> str:
    return shlex.quote(word).replace("%", "%%")


def archive_problem(mode: str, command: str, library: str, stanza: str, directory: str) -> str | None:
    """Return why a server's log does not come to a stanza, or None. The three settings are those of the server."""
    wanted = archive_command(stanza, directory)
    if mode == "off":
        return (
            "the server's setting archive_mode is off, so nothing of the log is kept; set it to on, archive_command to "
            f"{wanted!r}, and restart"
        )
    if library:
        return f"archive_library is {library!r}, so archive_command is not used; make it empty, and set {wanted!r}"
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    mine = any(os.path.basename(word) == TOOL for word in words) and "archive-push" in words
    if not mine:
        return (
            f"archive_command is {command!r}, which is not pgBackRest's: what it is given is lost, whatever it says of "
            f"itself; set it to {wanted!r}"
        )
    given = _value(words, "--stanza")
    if given is not None and given != stanza:
        return f"archive_command keeps the log for the stanza {given!r}, not for {stanza!r}; set it to {wanted!r}"
    if _value(words, "--config-path") not in (directory, None if directory == DIRECTORY else directory):
        return f"archive_command has another configuration than {directory}; set it to {wanted!r}"
    return None


def _value(words: list[str], option: str) -> str | None:
    """Return what a command line gives to an option, as one word or as two."""
    for place, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and place + 1 < len(words):
            return words[place + 1]
    return None


# --- what is there


@dataclass(frozen=True)
class Found:
    """A configuration as it is on a host, without its secrets.

    ``sections`` are values by section and key, lists where a key is given
    more than once. ``exposed`` are files with secrets that everybody can read.
    """

    directory: str
    sections: dict[str, dict[str, list[str]]]
    exposed: tuple[str, ...] = ()

    def get(self, stanza: str, key: str, default: str = "") -> str:
        """Return what a key means for a stanza, whatever the command."""
        for section in (stanza, "global"):
            values = self.sections.get(section, {}).get(key)
            if values:
                return values[-1]
        return default

    def stanza_problem(self, stanza: str) -> str | None:
        """Return why nothing can be done with a stanza, or None."""
        if stanza in self.sections:
            return None
        known = [name for name in self.sections if ":" not in name and name != "global"]
        return f"{self.directory} knows no stanza {stanza!r} (there are: {', '.join(known) or 'none'})"

    def repository_path(self, stanza: str, number: int) -> str | None:
        """Return the directory of a repository on this host; None where it is elsewhere."""
        if self.get(stanza, f"repo{number}-type", POSIX) not in (POSIX, "cifs") or self.get(
            stanza, f"repo{number}-host"
        ):
            return None
        return self.get(stanza, f"repo{number}-path", "/var/lib/pgbackrest")

    def retention(self, stanza: str, number: int) -> list[str]:
        """Return the keys, with their values, by which pgBackRest would remove something by itself."""
        keys = [f"repo{number}-retention-{name}" for name in ("full", "diff", "archive")]
        # A section of one command can say it, too.
        sections = [stanza, "global", *(f"{base}:{command}" for base in (stanza, "global") for command in _EXPIRING)]
        return [
            f"{key}={value[-1]}"
            for section in sections
            for key, value in self.sections.get(section, {}).items()
            if key in keys and value[-1:] != [str(FOREVER)]
        ]


_EXPIRING = ("backup", "expire")


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Return sections of a configuration file. What is secret is left out but for its key."""
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
            sections.setdefault(section, {})
        elif line and not line.startswith("#") and "=" in line:
            key, _equals, value = (part.strip() for part in line.partition("="))
            hidden = _SECRET_KEYS.fullmatch(key)
            sections.setdefault(section, {}).setdefault(key, []).append("" if hidden else value)
    return sections


def read(directory: str) -> Found:
    """Return the configuration of a host."""
    paths = [os.path.join(directory, MAIN), *sorted(glob.glob(os.path.join(glob.escape(directory), "conf.d/*.conf")))]
    sections: dict[str, dict[str, list[str]]] = {}
    exposed = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                found = parse(file.read())
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        except FileNotFoundError as error:
            raise BackupError(
                INTERNAL, f"there is no {path}, so nobody knows where backups are; configure pgBackRest first"
            ) from error
        except PermissionError as error:
            raise BackupError(AUTH, f"{path} cannot be read: {error.strerror}") from error
        if mode & 0o007 and any(_SECRET_KEYS.fullmatch(key) for keys in found.values() for key in keys):
            exposed.append(path)
        for name, keys in found.items():
            for key, values in keys.items():
                sections.setdefault(name, {}).setdefault(key, []).extend(values)
            sections.setdefault(name, {})
    return Found(directory, sections, tuple(exposed))
