"""`milepost learners` lists what is installed."""

import json

from milepost.learning import registry


def test_a_line_for_each(milepost) -> None:
    ended = milepost("learners")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert len(lines) == len(list(registry.learners()))
    assert any(
        line.startswith("derpp ") and line.endswith("(buffer_size, minibatch_size, alpha, beta)") for line in lines
    )
    assert any(line.startswith("finetune  ") and "(" not in line for line in lines)


def test_json(milepost) -> None:
    rows = {row["name"]: row for row in json.loads(milepost("learners", "--json").out)}
    found = registry.find_learner("er")
    assert rows["er"] == {
        "name": "er",
        "version": found.version,
        "summary": found.summary,
        "options": ["buffer_size", "minibatch_size"],
    }


def test_none(milepost, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_points", dict)
    assert milepost("learners").out == "none is installed\n"
    assert json.loads(milepost("learners", "--json").out) == []
