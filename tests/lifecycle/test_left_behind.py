"""Two runs are compared in all that they leave, and their logs are put together, life by life."""

import json
import shutil
from pathlib import Path

from lifecycle import toy
from lifecycle.left_behind import differences, merged_log
from milepost.checkpoint import load_checkpoint, save_checkpoint

FIRST = """[10:00:00] run x · 18 steps of 4 · eager step · 1 threads
[10:00:01] epoch 1  step 6/18  training/loss 0.5  [0:00:02 left]
[10:00:02] step 7/18  loss 0.4  learning rate 0.001  [-:--:-- left]
[10:00:03] epoch 2  step 12/18  training/loss 0.3  [0:00:01 left]
[10:00:03] epoch 3  step 1"""
SECOND = """[10:01:00] continuing from 'x.ckpt' at step 8
[10:01:00] run x · 18 steps of 4 · eager step · 1 threads
[10:01:01] epoch 2  step 12/18  training/loss 0.3  [0:00:01 left]
[10:01:02] epoch 3  step 18/18  training/loss 0.2  [0:00:00 left]
"""
MERGED = [
    "epoch 1  step 6/18  training/loss 0.5",
    "step 7/18  loss 0.4  learning rate 0.001",
    "epoch 2  step 12/18  training/loss 0.3",
    "epoch 3  step 18/18  training/loss 0.2",
]


def write_logs(folder: Path, *texts: str) -> None:
    for number, text in enumerate(texts):
        (folder / f"life-{number:03d}.log").write_text(text, encoding="utf-8")


def test_logs_are_put_together_without_what_a_kill_took_back(tmp_path):
    write_logs(tmp_path, FIRST, "[10:00:30] data: 22 made-up examples\n", SECOND)
    assert merged_log(tmp_path) == MERGED


def test_a_repeated_and_a_missing_line_of_the_log_are_seen(tmp_path):
    write_logs(tmp_path, FIRST, SECOND.replace("step 8", "step 12"))
    assert merged_log(tmp_path).count(MERGED[2]) == 2
    write_logs(tmp_path, FIRST, SECOND.replace("step 8", "step 6"))
    assert MERGED[1] not in merged_log(tmp_path)


def test_a_rollback_takes_back_lines_of_its_own_life(tmp_path):
    back = "[10:00:03] step 13 diverged (NaN): going back to 'step-00000006.ckpt' and leaving out that step"
    write_logs(tmp_path, FIRST.replace("[10:00:03] epoch 3  step 1", back))
    assert merged_log(tmp_path) == MERGED[:1]


def test_tables_of_tasks_are_of_the_last_life_alone(tmp_path):
    table = "[10:01:03] accuracy on each task (columns) after each task (rows):\n   a\na  1\n"
    ending = "[10:01:04] model: model.ckpt · run: outputs/x\n"
    write_logs(tmp_path, FIRST + "\n" + table, SECOND + table.replace("1\n", "2\n") + ending)
    told = ["accuracy on each task (columns) after each task (rows):", "   a", "a  2"]
    assert merged_log(tmp_path) == [*MERGED, *told]


def test_every_difference_from_the_oracle_is_seen(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    toy.write_options(alone)
    with toy.installed(tmp_path / "installed"):
        toy.run(alone)
    write_logs(alone, SECOND)
    task = alone / "checkpoints" / "er_seq-digits_30_1_20261122-100000_0.ckpt"
    task.parent.mkdir()
    shutil.copyfile(alone / "model.ckpt", task)
    (next(alone.glob("outputs/*/*")) / "matrix-accuracy.png").write_bytes(b"drawn")
    shutil.copytree(alone, killed)
    copied = killed / "checkpoints" / task.name
    other = copied.rename(copied.with_name(task.name.replace("100000", "110000")))
    assert list(differences(alone, killed)) == []

    (run,) = killed.glob("outputs/*/*")
    (run / "matrix-accuracy.png").write_bytes(b"drawn otherwise")
    with (run / "metrics.csv").open("a", encoding="utf-8") as stream:
        stream.write("again\n")
    (run / "errors.json").write_text(json.dumps({}), encoding="utf-8")
    (run / "checkpoints" / ".step-00000018.ckpt.12345678.draft").touch()
    model = killed / "model.ckpt"
    with load_checkpoint(model) as checkpoint:
        state = {name: checkpoint.state(name) for name in checkpoint.components}
        record, text = checkpoint.record, checkpoint.options_yaml
    state["model"]["layers.0.weight"][0, 0] += 1e-7
    for path in (model, other):
        save_checkpoint(path, state, options_yaml=text, record=record, overwrite=True)
    write_logs(killed, SECOND + SECOND.splitlines()[-1] + "\n")
    record_file = run / "run.json"
    record_file.write_text(record_file.read_text(encoding="utf-8").replace('"finished"', '"stopped"'))
    found = list(differences(alone, killed))
    assert found[:3] == ["errors.json differs", "matrix-accuracy.png differs", "metrics.csv differs"]
    assert found[3].startswith("run.json: expected {")
    assert found[4] == "er_seq-digits_30_1_TIME_0.ckpt: .model.layers.0.weight"
    assert found[5] == "model.ckpt: .model.layers.0.weight"
    assert found[6] == "drafts were left: ['.step-00000018.ckpt.12345678.draft']"
    assert found[7].startswith("the log has 3 lines, expected 2")

    (run / "errors.json").unlink()
    assert any("errors.json" in line and line.startswith("expected the files [") for line in differences(alone, killed))
    next(run.glob("checkpoints/*.ckpt")).unlink()
    assert any("expected the checkpoints [" in line for line in differences(alone, killed))
    shutil.copytree(run, run.with_name("another"))
    assert next(differences(alone, killed)).startswith("expected one run, found [")
