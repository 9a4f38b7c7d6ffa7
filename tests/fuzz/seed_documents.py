"""The seeds of the targets that read overlays, by name."""

from __future__ import annotations

__all__ = ["json_overlays", "toml_overlays", "yaml_overlays"]


def json_overlays() -> dict[str, bytes]:
    """Overlays of JSON: harmless, hostile and broken."""
    texts = {
        "good": '{"poll_interval": "5s", "limits": {"mem": {"hard": 2}}, "tags": []}',
        "good-beside-blocks": '{"nats": {"url": "x"}, "agents": {"north": {"address": null}}}',
        "good-beside-paths": '{"logging": {"level": "debug"}, "grpc": {"listen_addr": ":1"}}',
        "good-escapes": '{"t\\u0061gs": ["\\ud83e\\udd8a", "\\\\", "\\"[{", ":", "a\\":"]}',
        "good-numbers": '{"a": [0, -1, 1.5e3, 1e-400, 9007199254740993, 1E+2]}',
        "good-twins": '{"Poll_Interval": 1, "poll_interval": 2, "LIMITS": {}}',
        "empty": "{}",
        "security": '{"security": {"mode": "none"}}',
        "security-deep": '{"a": [{"b": [[{"x_security": null}]]}]}',
        "security-folded": '{"\\u017fecurity": null, "\u212av_\u017fECURITY": {}}',
        "parent-null": '{"nats": null, "agents": {"north": []}}',
        "parent-list": '{"checks": []}',
        "parent-twin": '{"nat\\u017f": {}, "chec\u212as": []}',
        "path": '{"rbac": {"roles": []}, "kv_address": "other:1"}',
        "path-parent": '{"cnpg": null, "logging": {"otel": []}}',
        "path-folded": '{"KV_addre\u017f\u017f": 1, "cnpg": [{"SSL_MODE": 1}]}',
        "twice": '{"a": 1, "a": {"security": 1}}',
        "twice-deep": '{"a": {"b": 1, "\\u0062": 2}}',
        "colons": '{"a": ":50051", "b:": ":", ":": "\\":", "c" : 1}',
        "brackets": '{"a": "[", "b": "]{", "c": "\\"[\\\\"}',
        "nan": '{"a": NaN, "b": [Infinity, 1e400]}',
        "long-number": '{"a": ' + "9" * 320 + "}",
        "surrogate": '{"a": "\\ud83e"}',
        "trailing": '{"a": 1} {"security": 1}',
        "list": "[]",
        "deep": '{"a":' * 101 + "1" + "}" * 101,
        "deep-allowed": '{"a":' * 100 + "1" + "}" * 100,
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "mark": b'\xef\xbb\xbf{"a": 1}',
        "not-utf-8": b'{"a": "\xff"}',
        "utf-16": '{"a": 1}'.encode("utf-16"),
    }


def toml_overlays() -> dict[str, bytes]:
    """Overlays of TOML: harmless, hostile and broken."""
    texts = {
        "good": 'poll_interval = "5s"\n[limits.mem]\nhard = 2\n[[fresh]]\na = [1, 2.5, true]\n',
        "good-strings": 'a = \'\'\'[[\n\'\'\'\nb = """\\"""""""\nc = \'x\' # [{\n"d.e".f = "\\U0001F98A"\n',
        "good-numbers": "a = 0xff\nb = 0o17\nc = 0b1\nd = 1_000\ne = -1.5e3\n",
        "security": '[security]\nmode = "none"\n',
        "security-dotted": "a.x_security.mode = 1\n",
        "security-inline": 'a = [{"\\u017fecurity" = 1}]\n',
        "parent": "nats = 1\nagents.north = []\n",
        "parent-twin": "[NATS]\nurl = 'x'\n",
        "flowgger": "[grpc]\nmode = 'none'\nlisten_addr = ':1'\n",
        "path-list": "[[grpc]]\nMODE = 1\n",
        "twice": "a = 1\na = 2\n",
        "date": "a = 1979-05-27T07:32:00Z\nb = 07:32:00\n",
        "not-finite": "a = inf\nb = -nan\nc = 1e400\n",
        "dotted": ".".join(["a"] * 120) + " = 1\n",
        "deep": "a = " + "[" * 120 + "]" * 120,
        "unended": 'a = "x\nb = [[[',
        "unended-escapes": '\\"' * 300,
        "unended-long": '\\"""\n' * 300,
        "unended-literal": "a = '''\n" + "''x\n" * 300,
        "empty": "",
    }
    return {name: text.encode() for name, text in texts.items()} | {"not-utf-8": b"a = '\xff'\n"}


def yaml_overlays() -> dict[str, bytes]:
    """Overlays of YAML: harmless, hostile and broken."""
    texts = {
        "good": "poll_interval: 5s\nlimits:\n  mem: {hard: 2}\ntags:\n  - x y\n  - [1, 2.5]\n",
        "good-scalars": 'a: yes\nb: null\nc:\nd: 1e3\ne: "1"\nf: 1:30\ng: 2024-01-01\nh: -0\n',
        "good-blocks": "a: |\n  x\n   y\nb: >-\n  x\n  y\n? c\n: 1\n",
        "security": "security: {mode: none}\n",
        "security-folded": '\u017fecurity: null\n"kv_\\u017fecurity": 1\na: [{x_security: 1}]\n',
        "parent": "nats:\nagents: {north: []}\n",
        "parent-twin": "NATS: {}\n",
        "path": "grpc:\n  mode: none\ncnpg: x\n",
        "twice": "a: 1\n'a': 2\n",
        "anchor": "a: &x [1]\nb: *x\n",
        "merge-key": "<<: {security: 1}\n",
        "tag": "a: !!str 1\n",
        "name": "1: a\n[b]: c\n",
        "differ": "a: ~\nb: True\nc: 0x1F\n",
        "directive": "%YAML 1.1\n---\na: 1\n",
        "documents": "a: 1\n---\nsecurity: 1\n",
        "not-finite": "a: 1e400\nb: " + "9" * 320 + "\n",
        "deep": "a: " + "[" * 120 + "]" * 120,
        "json": '{"a": [1, {"b": null}], "c": "\\u00e9"}',
        "list": "- a\n",
        "empty": "",
    }
    return {name: text.encode() for name, text in texts.items()} | {"not-utf-8": b"a: \xff\n"}
