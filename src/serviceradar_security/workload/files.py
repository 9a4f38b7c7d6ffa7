"""Which files hold an identity, as a user names them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import ConfigError, ConfigProblem, SpiffeIdError
from serviceradar_security.identity.bundle import MAX_BUNDLE_BYTES
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.workload.file_material import read_material

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.workload.file_material import FileMaterial

__all__ = [
    "MAX_CHAIN_FILE_BYTES",
    "MAX_KEY_FILE_BYTES",
    "FilePath",
    "IdentityFile",
    "IdentityFiles",
    "name_file",
    "name_trust_domain",
]

MAX_CHAIN_FILE_BYTES: Final = 2 * 1024 * 1024  # the longest chain of the largest certificates
MAX_KEY_FILE_BYTES: Final = MAX_CHAIN_FILE_BYTES  # key and chain may be in one file

FilePath = str | os.PathLike[str]
"""What names a file."""


def _shown(path: str) -> str:
    """Write a path so that it stays on one line."""
    return path if path.isprintable() else ascii(path)


@dataclass(frozen=True, slots=True)
class IdentityFile:
    """One file of the set.

    Attributes:
        name: What it is, and its path, for messages.
        path: Where it is.
        limit: The most bytes that it may have.
        trust_domain: Whose bundle it is; None for the others, and for the bundle of our own.
    """

    name: str
    path: str
    limit: int
    trust_domain: TrustDomain | None = None


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Which files belong together; made by `of`, which checks them.

    Attributes:
        certificate: The chain, leaf first.
        key: Its key.
        bundle: The authorities of the identity's own trust domain, or a bundle map.
        federated: The bundles of trust domains that are named.
        trust_domain: The trust domain that the identity must be of; None for any.
        hint: The hint that the identity gets.
    """

    certificate: IdentityFile
    key: IdentityFile
    bundle: IdentityFile | None
    federated: tuple[IdentityFile, ...]
    trust_domain: TrustDomain | None
    hint: str

    @classmethod
    def of(
        cls,
        *,
        cert_file: FilePath,
        key_file: FilePath,
        bundle_file: FilePath | None = None,
        bundle_files: Mapping[TrustDomain | str, FilePath] | None = None,
        trust_domain: TrustDomain | str | None = None,
        hint: str = "",
    ) -> IdentityFiles:
        """Check what a user gave; relative paths are taken from the folder of now.

        Raises:
            ConfigError: Something of it cannot be used; every problem is told.
        """
        problems: list[ConfigProblem] = []
        own = name_trust_domain("trust_domain", trust_domain, problems)
        given = dict(bundle_files or {})
        federated = [
            (name_trust_domain("bundle_files", name, problems), path)
            for name, path in given.items()
        ]
        domains = [domain for domain, _ in federated if domain is not None]
        if len(set(domains)) != len(domains):
            problems.append(ConfigProblem("bundle_files", "a trust domain is named twice"))
        if bundle_file is not None and own is not None and own in domains:
            text = f"{own} is the identity's own trust domain, whose bundle is bundle_file"
            problems.append(ConfigProblem("bundle_files", text))
        if bundle_file is None and not given:
            text = "without a bundle nobody can be verified: give it, or bundle_files"
            problems.append(ConfigProblem("bundle_file", text))
        given_hint: object = hint
        if not isinstance(given_hint, str):
            problems.append(ConfigProblem("hint", f"give a text, not {type(given_hint).__name__}"))
        files = IdentityFiles(
            certificate=name_file("cert_file", cert_file, problems),
            key=name_file("key_file", key_file, problems),
            bundle=None if bundle_file is None else name_file("bundle_file", bundle_file, problems),
            federated=tuple(
                name_file("bundle_files", path, problems, each) for each, path in federated
            ),
            trust_domain=own,
            hint=hint,
        )
        if problems:
            told = "; ".join(str(each) for each in problems)
            raise ConfigError(f"the files of an identity cannot be used: {told}", problems=problems)
        return files

    def read(
        self,
        contents: Sequence[bytes],
        *,
        at: datetime,
        held: X509Context | None,
    ) -> FileMaterial[X509Context]:
        """Make an identity of what the files hold.

        Raises:
            UnusableFileError: It is none, or an older one than that which is held.
        """
        return read_material(self, contents, at=at, held=held)

    def __iter__(self) -> Iterator[IdentityFile]:
        yield self.certificate
        yield self.key
        if self.bundle is not None:
            yield self.bundle
        yield from self.federated


def name_trust_domain(
    option: str,
    value: TrustDomain | str | None,
    problems: list[ConfigProblem],
) -> TrustDomain | None:
    """Read a trust domain that a user named in an option, or note what is wrong with it."""
    if value is None and option == "trust_domain":
        return None
    if isinstance(value, TrustDomain):
        return value
    if not isinstance(value, str):
        problems.append(ConfigProblem(option, f"{type(value).__name__} names no trust domain"))
        return None
    try:
        return TrustDomain.parse(value)
    except SpiffeIdError as error:
        problems.append(ConfigProblem(option, str(error)))
        return None


_KINDS: Final = {
    "cert_file": ("certificate file", MAX_CHAIN_FILE_BYTES),
    "key_file": ("key file", MAX_KEY_FILE_BYTES),
    "bundle_file": ("bundle file", MAX_BUNDLE_BYTES),
    "bundle_files": ("bundle file", MAX_BUNDLE_BYTES),
    "ca_file": ("authority file", MAX_BUNDLE_BYTES),
    "client_ca_file": ("authority file of clients", MAX_BUNDLE_BYTES),
}


def name_file(
    option: str,
    path: FilePath,
    problems: list[ConfigProblem],
    trust_domain: TrustDomain | None = None,
) -> IdentityFile:
    """Take the path that a user gave in an option, or note what is wrong with it."""
    kind, limit = _KINDS[option]
    whose = f" of {trust_domain}" if trust_domain is not None else ""
    text = ""
    try:
        text = _absolute(path)
    except (TypeError, ValueError, OSError) as error:
        problems.append(ConfigProblem(option, f"no path of a file: {error}"))
    return IdentityFile(f"{kind}{whose} {_shown(text)}", text, limit, trust_domain)


def _absolute(path: FilePath) -> str:
    """Check a path; ``..`` stays as it is, since behind a link it is not what it looks like."""
    text: object = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"give a text, not {type(text).__name__}")
    given = Path(text)
    if "\0" in text:
        raise ValueError(f"{ascii(text)[:200]} has a NUL character")
    if given.name in ("", ".."):
        raise ValueError(f"{ascii(text)[:200]} ends in no name")
    os.fsencode(text)
    return str(given if given.is_absolute() else Path.cwd() / given)
