"""The JSON Schema of a security block, for editors and for checks before a deployment.

Made from the members that the reader knows, with the rules that a schema can say. It never refuses
what the reader takes; the reader is stricter in a few rules, which docs/configuration.md lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from serviceradar_security.config.block_members import (
    KNOWN_ROLES,
    NO_SWITCHES,
    BlockMembers,
    FileMembers,
)
from serviceradar_security.config.normalise import (
    DEFAULT_WORKLOAD_SOCKET,
    REQUIRED_FILES,
    Mode,
)
from serviceradar_security.identity.spiffe_id import MAX_TRUST_DOMAIN_BYTES

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SCHEMA_ID", "security_block_schema"]

SCHEMA_ID: Final = "urn:serviceradar-security:schema:security-block"
"""The identifier of the schema; nothing is fetched from anywhere."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# Patterns mean the same in ECMA-262 and in Python: explicit classes, no flags. Where `$` would
# stand before a final newline in Python, the rule against control characters refuses it.
_UNFIT: Final = r"\$\(|\$\{|\{\{|PLACEHOLDER|[\u0000-\u001f\u007f-\u009f]"
_NAME: Final = f"[a-z0-9._-]{{1,{MAX_TRUST_DOMAIN_BYTES}}}"
_SEGMENTS: Final = r"(?:/(?!\.{1,2}(?:/|\s*$))[A-Za-z0-9._-]+)"
_TRUST_DOMAIN: Final = rf"^\s*(?:{_NAME}|spiffe://{_NAME}{_SEGMENTS}*)?\s*$"
_PATH_ONLY: Final = rf"/?(?!/)(?!\.{{1,2}}(?:/|\s*$))[A-Za-z0-9._-]+{_SEGMENTS}*"


def _any_case(word: str) -> str:
    return "".join(f"[{letter.lower()}{letter.upper()}]" for letter in word)


_WHOLE_ID: Final = rf"{_any_case('spiffe')}://{_NAME}{_SEGMENTS}*"
_MODES: Final = get_args(Mode)


def security_block_schema() -> dict[str, object]:
    """Give the JSON Schema (draft 2020-12) of a security block that must name its mode."""
    members = _members(BlockMembers)
    members["tls"] = {
        "type": "object",
        "description": _description(BlockMembers, "tls"),
        "properties": {**_members(FileMembers), **_no_switches()},
    }
    for name, rules in _RULES.items():
        members[name] |= rules
    return {
        "$schema": _DIALECT,
        "$id": SCHEMA_ID,
        "title": "ServiceRadar security block",
        "description": BlockMembers.__doc__,
        "type": "object",
        "required": ["mode"],
        "properties": {**members, **_no_switches()},
        "allOf": [_MTLS_NEEDS_FILES, _PATH_NEEDS_TRUST_DOMAIN],
        "$defs": {
            "text": {
                "type": "string",
                "not": {"pattern": _UNFIT},
                "$comment": "No placeholder of a template, no control character.",
            },
        },
    }


def _members(model: type[BaseModel]) -> dict[str, dict[str, object]]:
    return {
        name: {"$ref": "#/$defs/text", "description": _description(model, name)}
        for name in model.model_fields
    }


def _description(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].description or ""


def _no_switches() -> dict[str, dict[str, object]]:
    return {
        name: {
            "deprecated": True,
            "description": "Not read. Nothing but the mode switches TLS or verification on or off.",
        }
        for name in sorted(NO_SWITCHES)
    }


_RULES: Final[dict[str, dict[str, object]]] = {
    "mode": {
        "anyOf": [
            {"enum": list(_MODES)},
            {"pattern": f"^(?:{'|'.join(map(_any_case, _MODES))})$"},
        ],
    },
    "role": {"examples": sorted(KNOWN_ROLES)},
    "trust_domain": {"pattern": _TRUST_DOMAIN},
    "server_spiffe_id": {"pattern": rf"^\s*(?:{_WHOLE_ID}|{_PATH_ONLY})?\s*$"},
    "workload_socket": {
        "pattern": rf"^(?:(?:{_any_case('unix')}|{_any_case('tcp')}):[^\s\ufeff]+)?$",
        "default": DEFAULT_WORKLOAD_SOCKET,
    },
}

_GIVEN_FILES: Final[dict[str, object]] = {
    "required": list(REQUIRED_FILES),
    "properties": {name: {"minLength": 1} for name in REQUIRED_FILES},
}
_MTLS_NEEDS_FILES: Final[dict[str, object]] = {
    "$comment": "Mode mtls needs its files: in tls where there is one, else beside the mode.",
    "if": {
        "required": ["mode"],
        "properties": {"mode": {"pattern": f"^{_any_case('mtls')}$"}},
    },
    "then": {
        "if": {"required": ["tls"]},
        "then": {"properties": {"tls": _GIVEN_FILES}},
        "else": _GIVEN_FILES,
    },
}
_PATH_NEEDS_TRUST_DOMAIN: Final[dict[str, object]] = {
    "$comment": "A server_spiffe_id without a scheme is a path in the trust domain.",
    "if": {
        "required": ["server_spiffe_id"],
        "properties": {"server_spiffe_id": {"pattern": r"\S", "not": {"pattern": "://"}}},
    },
    "then": {
        "required": ["trust_domain"],
        "properties": {"trust_domain": {"pattern": r"\S"}},
    },
}
