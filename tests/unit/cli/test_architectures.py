"""`milepost architectures` lists what is installed."""

import json

from milepost.model import Architecture, registry


def test_a_line_for_each(milepost) -> None:
    ended = milepost("architectures")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert any(line.split()[:2] == ["cairn", "version"] and "Cartesian tensors" in line for line in lines)


def test_json(milepost) -> None:
    rows = {row["name"]: row for row in json.loads(milepost("architectures", "--json").out)}
    found: Architecture = registry.find_architecture("cairn")
    assert rows["cairn"] == {
        "name": "cairn",
        "version": found.version,
        "summary": found.summary,
        "domain": "milepost.atoms.domain",
    }


def test_none(milepost, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_points", dict)
    assert milepost("architectures").out == "none is installed\n"
    assert json.loads(milepost("architectures", "--json").out) == []
