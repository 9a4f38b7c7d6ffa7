"""Turn the texts of a security block into values: modes, identities, sockets and file paths.

Each function returns the value, or notes why there is none and returns an empty one. The rules
are those of the platform's Go loader, with its traps closed: a forgotten scheme, a placeholder
that no deployment step filled in, a path that is joined twice.
"""

from __future__ import annotations

import ntpath
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "DEFAULT_WORKLOAD_SOCKET",
    "REQUIRED_FILES",
    "Mode",
    "TlsFiles",
    "check_text",
    "is_absolute",
    "read_identities",
    "read_mode",
    "read_tls_files",
    "read_workload_socket",
    "without_prefix",
]

Mode = Literal["none", "mtls", "spiffe"]
"""How a connection is secured; ``none`` is plaintext."""

DEFAULT_WORKLOAD_SOCKET: Final = "unix:/run/spire/sockets/agent.sock"

_MODES: Final[dict[str, Mode]] = {mode: mode for mode in get_args(Mode)}
_MODE_REMEDY: Final = 'write "spiffe", "mtls" or "none"'
_NO_DEFAULT: Final = "nothing is secured by default"
REQUIRED_FILES: Final = ("cert_file", "key_file", "ca_file")
# Left over from templates: `$(X)`, `${X}`, `{{X}}`, `PLACEHOLDER_X`. Only the name is shown,
# since what follows it may be a default value.
_PLACEHOLDER: Final = re.compile(r"\$\([\w ]*\)?|\$\{[\w ]*\}?|\{\{[\w. ]*(?:\}\})?|PLACEHOLDER\w*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME: Final = "spiffe://"
_SOCKET: Final = re.compile(r"(?ai:unix|tcp):[^\s\ufeff]+")
_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]|\\")  # a drive with its root, or a share


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files, joined to ``cert_dir`` once; empty where none is given.

    Attributes:
        cert_file: Own certificate chain.
        key_file: Private key of the certificate.
        ca_file: Authorities that servers are verified against.
        client_ca_file: Authorities that clients are verified against; `ca_file` if not given.
    """

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    client_ca_file: str = ""


def check_text(path: tuple[str, ...], text: str, problems: Problems) -> bool:
    """Refuse a text that holds an unresolved placeholder or a control character."""
    placeholder = _PLACEHOLDER.search(text)
    if placeholder is not None:
        problems.add(
            path,
            f"holds the unresolved placeholder {shown(placeholder[0])}: "
            "fill it in before the service starts",
        )
        return False
    if _CONTROL.search(text):
        problems.add(path, "holds a control character: remove it")
        return False
    return True


def read_mode(
    text: str | None,
    problems: Problems,
    *,
    missing: str = _NO_DEFAULT,
) -> Mode | None:
    """Read the mode: lower-cased, not trimmed, never guessed.

    Args:
        text: The mode; None if it was reported already.
        problems: Where to note that there is none, or an unknown one.
        missing: What to say of a missing one, beside what to do.
    """
    if text is None:
        return None
    if not text:
        problems.add(("mode",), f"missing, and {missing}: {_MODE_REMEDY}")
        return None
    mode = _MODES.get(text.lower())
    if mode is None:
        problems.add(("mode",), f"unknown security mode {shown(text)}: {_MODE_REMEDY}")
    return mode


def read_identities(
    trust_domain: str | None,
    server_spiffe_id: str | None,
    problems: Problems,
) -> tuple[TrustDomain | None, SpiffeId | None]:
    """Read the trust domain, and the server's SPIFFE ID: whole, or as a path in that domain.

    Args:
        trust_domain: A name or a whole SPIFFE ID; None if it was reported already.
        server_spiffe_id: The ID of the server to dial; None if it was reported already.
        problems: Where to note what is wrong.
    """
    before = problems.count
    domain = _trust_domain((trust_domain or "").strip(), problems)
    value = (server_spiffe_id or "").strip()
    unsure = trust_domain is None or problems.count > before
    if not value or (unsure and "://" not in value):
        return domain, None
    return domain, _server_spiffe_id(value, domain, problems)


def _trust_domain(name: str, problems: Problems) -> TrustDomain | None:
    if not name:
        return None
    try:
        return TrustDomain.parse(name)  # of a whole SPIFFE ID only its trust domain (R-TD-03)
    except SpiffeIdError as error:
        problems.add(("trust_domain",), f"invalid trust domain: {error}")
        return None


def _server_spiffe_id(
    value: str,
    trust_domain: TrustDomain | None,
    problems: Problems,
) -> SpiffeId | None:
    wrong = None
    if "://" in value:
        # Only here the platform folds the scheme; the rest is strict.
        known = value[: len(_SCHEME)].lower() == _SCHEME
        value = _SCHEME + value[len(_SCHEME) :] if known else value
    elif trust_domain is None:
        wrong = "is missing a scheme and no trust_domain is configured: write the whole ID"
    elif _forgot_scheme(value, trust_domain):
        wrong = (
            "begins like a trust domain but has no scheme: write the whole ID, as "
            f'"{_SCHEME}...", or begin the path with a slash'
        )
    else:
        value = f"{trust_domain.id}/{value.removeprefix('/')}"
    if wrong is None:
        try:
            return SpiffeId.parse(value)
        except SpiffeIdError as error:
            wrong = f"is invalid: {error}"
    problems.add(("server_spiffe_id",), f"server SPIFFE ID {wrong}")
    return None


def _forgot_scheme(value: str, trust_domain: TrustDomain) -> bool:
    """Tell whether the first segment of a path is more likely a trust domain."""
    first = value.removeprefix("/").partition("/")[0]
    return first.lower() == trust_domain.name or ("." in first and not value.startswith("/"))


def read_workload_socket(text: str | None, problems: Problems) -> str:
    """Check the outer form of a Workload API address; the provider parses the rest (R-EP-02)."""
    if text and not _SOCKET.fullmatch(text):
        problems.add(
            ("workload_socket",),
            f'is no address of a Workload API: write one as "{DEFAULT_WORKLOAD_SOCKET}"',
        )
    return text or DEFAULT_WORKLOAD_SOCKET


def read_tls_files(
    cert_dir: str | None,
    files: Mapping[str, str | None],
    problems: Problems,
    *,
    required: bool,
    unread: Collection[str] = (),
) -> TlsFiles:
    """Join relative paths to `cert_dir`, once; empty stays empty.

    Args:
        cert_dir: Directory of the files; None if it was reported already.
        files: Paths by the names of `TlsFiles`; None where one was reported already.
        problems: Where to note missing files.
        required: Whether own certificate, key and authorities must be given.
        unread: Names that are given where they do not count.
    """
    for name in REQUIRED_FILES:
        if required and files[name] == "":
            text = f"tls.{name} is required for mTLS: give the path of a PEM file"
            if name in unread:
                text += f" in tls, since {name} beside it does not count where there is a tls"
            problems.add(("tls", name), text)
    joined = {name: _join(cert_dir or "", path or "") for name, path in files.items()}
    joined["client_ca_file"] = joined["client_ca_file"] or joined["ca_file"]
    return TlsFiles(**joined)


def is_absolute(path: str) -> bool:
    """Tell whether a path is absolute, here or on Windows, where some files were written."""
    return posixpath.isabs(path) or _WINDOWS.match(path) is not None


def _join(cert_dir: str, path: str) -> str:
    if not path or not cert_dir or is_absolute(path):
        return path
    if _WINDOWS.match(cert_dir):
        return ntpath.normpath(ntpath.join(cert_dir, path))
    return posixpath.normpath(posixpath.join(cert_dir, path))  # as Go's filepath.Join does


def without_prefix(cert_dir: str, path: str) -> str:
    """Give the path that `read_tls_files` joins to a directory to give this one back."""
    if not path or not cert_dir or is_absolute(path) or _WINDOWS.match(cert_dir):
        return path
    above, below = _steps(cert_dir), _steps(path)
    while above and below and above[0] == below[0]:
        above, below = above[1:], below[1:]
    return "/".join([".."] * len(above) + below) or "."


def _steps(path: str) -> list[str]:
    return [step for step in posixpath.normpath(path).split("/") if step != "."]
