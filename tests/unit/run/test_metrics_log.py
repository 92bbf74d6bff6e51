"""`metrics.csv` has no row twice and none missing, whatever happened between."""

from milepost.run.metrics_log import MetricsLog


def test_rows_after_the_checkpoint_are_cut_away(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsLog(path)
    log.append({"step": 1, "loss": 0.5})
    state = log.state_dict()
    log.append({"step": 2, "loss": 0.25})
    log.append({"step": 3, "loss": 0.125})
    again = MetricsLog(path)
    again.load_state_dict(state)
    again.append({"step": 2, "loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_a_lost_file_starts_again_at_the_checkpoint(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append({"step": 1, "loss": 0.5})
    again = MetricsLog(tmp_path / "elsewhere.csv")
    again.load_state_dict(log.state_dict())
    again.append({"step": 2, "loss": 0.25})
    assert again.path.read_text() == "step,loss\n2,0.25\n"


def test_what_a_killed_first_run_left_is_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,9\n2,9\n3,9\n")
    log = MetricsLog(path)
    log.append({"step": 1, "loss": 0.5})
    assert path.read_text() == "step,loss\n1,0.5\n"
