"""Which files: what a user may name, and what is refused at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from serviceradar_security import ConfigError, TrustDomain
from serviceradar_security.workload.file_source import FileSource
from serviceradar_security.workload.files import IdentityFiles

GIVEN: dict[str, Any] = {"cert_file": "/c.pem", "key_file": "/k.pem", "bundle_file": "/b.pem"}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number": ({"cert_file": 7}, "cert_file: no path of a file"),
    "bytes": ({"key_file": b"/k.pem"}, "key_file: no path of a file: give a text, not bytes"),
    "none": ({"key_file": None}, "key_file: no path of a file"),
    "empty": ({"cert_file": ""}, "cert_file: .* ends in no name"),
    "a root": ({"cert_file": "/"}, "cert_file: .* ends in no name"),
    "a parent": ({"bundle_file": "/x/.."}, "bundle_file: .* ends in no name"),
    "a NUL": ({"bundle_file": "/b\0.pem"}, "'/b.x00.pem' has a NUL character"),
    "no UTF-8": ({"bundle_file": "/\ud800.pem"}, "bundle_file: no path of a file"),
    "no bundle": ({"bundle_file": None}, "bundle_file: without a bundle nobody can be verified"),
    "no bundles": ({"bundle_file": None, "bundle_files": {}}, "nobody can be verified"),
    "a bad domain": ({"bundle_files": {"B.test": "/x"}}, "bundle_files: "),
    "no domain": ({"bundle_files": {None: "/x"}}, "bundle_files: NoneType names no trust domain"),
    "a domain's bad path": ({"bundle_files": {"b.test": ""}}, "bundle_files: no path of a file"),
    "a domain twice": (
        {"bundle_files": {"b.test": "/x", TrustDomain.parse("b.test"): "/y"}},
        "bundle_files: a trust domain is named twice",
    ),
    "our own domain twice": (
        {"trust_domain": "a.test", "bundle_files": {"a.test": "/x"}},
        "bundle_files: a.test is the identity's own trust domain",
    ),
    "our own bad domain": ({"trust_domain": "spiffe://"}, "trust_domain: "),
    "our own domain of a kind": ({"trust_domain": 7}, "trust_domain: int names no trust domain"),
    "a hint": ({"hint": None}, "hint: give a text, not NoneType"),
    "a short interval": ({"poll_interval": 0}, "poll_interval is 0: give a number of seconds"),
    "no interval": ({"poll_interval": None}, "poll_interval is None"),
    "not a number": ({"poll_interval": float("nan")}, "poll_interval is nan"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(case: str) -> None:
    """What cannot be meant is refused as the source is made, in one line that names it."""
    changes, text = WRONG[case]
    with pytest.raises(ConfigError, match=text) as caught:
        FileSource(**{**GIVEN, **changes})
    assert "\n" not in str(caught.value)


def test_every_problem_is_told() -> None:
    """All problems of the files are told at once, each with its option."""
    with pytest.raises(ConfigError) as caught:
        FileSource(cert_file="", key_file="/", bundle_file=None, trust_domain="A", hint="")
    options = [each.path for each in caught.value.problems]
    assert options == ["trust_domain", "bundle_file", "cert_file", "key_file"]


@pytest.mark.parametrize(
    "path",
    ["/x/y.pem", "y.pem", "x/y.pem", "/x/link/../y.pem", "/x/ y\n.pem", Path("x/y.pem")],
)
def test_paths(path: str | Path) -> None:
    """A relative path is taken from the folder of now, and ``..`` stays: links may be before it."""
    files = IdentityFiles.of(**{**GIVEN, "cert_file": path})
    assert files.certificate.path == str(Path.cwd() / path)
    assert "\n" not in files.certificate.name


def test_the_folder_of_now_is_gone(tmp_path: Path) -> None:
    """A relative path where the process has no folder is refused with an error of ours."""
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        with pytest.raises(ConfigError, match="cert_file: no path of a file"):
            FileSource(**{**GIVEN, "cert_file": "c.pem"})
    finally:
        os.chdir(before)


def test_order() -> None:
    """The files come in the order in which they are read, each with the name it has in messages."""
    files = IdentityFiles.of(**GIVEN, bundle_files={"spiffe://b.test": "/b2", "c.test": "/c2"})
    assert [each.name for each in files] == [
        "certificate file /c.pem",
        "key file /k.pem",
        "bundle file /b.pem",
        "bundle file of b.test /b2",
        "bundle file of c.test /c2",
    ]


# ---- layouts ------------------------------------------------------------------------------------


def test_spiffe_helper(tmp_path: Path) -> None:
    """The layout of spiffe-helper has the names of its documentation, unless it is told others."""
    source = FileSource.spiffe_helper(tmp_path)
    names = ("svid.pem", "svid_key.pem", "svid_bundle.pem")
    assert source.files == tuple(str(tmp_path / name) for name in names)
    source = FileSource.spiffe_helper(
        str(tmp_path),
        svid_file_name="c",
        svid_key_file_name="k",
        svid_bundle_file_name="b",
        bundle_files={"b.test": "/b2"},
    )
    assert source.files == (*(str(tmp_path / name) for name in "ckb"), "/b2")


def test_csi_driver_spiffe() -> None:
    """The layout of cert-manager's driver is that of a secret for TLS."""
    source = FileSource.csi_driver_spiffe("/var/run/secrets/spiffe.io")
    assert source.files == tuple(
        f"/var/run/secrets/spiffe.io/{name}" for name in ("tls.crt", "tls.key", "ca.crt")
    )


@pytest.mark.parametrize("make", [FileSource.spiffe_helper, FileSource.csi_driver_spiffe])
@pytest.mark.parametrize(
    ("folder", "options"),
    [
        (None, {}),
        (b"/x", {}),
        ("/x", {"trust_domain": "A"}),
        ("/x", {"poll_interval": -1}),
        ("/x", {"bundle_files": {"b.test": ""}}),
        ("/x", {"hint": 1}),
    ],
)
def test_wrong_layouts(make: Any, folder: Any, options: dict[str, Any]) -> None:
    """A layout refuses what the class refuses, as it is made."""
    with pytest.raises(ConfigError):
        make(folder, **options)


def test_wrong_names() -> None:
    """A name in a layout is a text."""
    name: Any = None
    with pytest.raises(ConfigError, match="is no path"):
        FileSource.spiffe_helper("/x", svid_file_name=name)
