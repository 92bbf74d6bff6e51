"""Exporting: load back, compare, publish; or leave everything as it was and say why."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.errors import ExportError, OverwriteError, ParityError
from milepost.export import ExportRecord, Parity, Tolerance, export_model, read_record

TOLERANCES = {"sum": Tolerance(1e-6, 1e-6, "m"), "product": Tolerance(1e-6, 1e-6, "m²")}
SAMPLES = [("small", np.array([1.0, 2.0])), ("large", np.array([100.0, 200.0, 300.0]))]


def record(run_id: str = "run-a") -> ExportRecord:
    return ExportRecord("zip", "blake3:00", run_id, 1, {"name": "some"}, {}, {}, {})


def truth(values: Any) -> dict[str, np.ndarray]:
    return {"sum": np.array([values.sum()]), "product": np.array(values.prod())}


@dataclass
class ZipExporter:
    """Write a factor into a zip; the loaded program multiplies every quantity with it."""

    factor: float = 1.0
    suffix: str = ".zip"
    drop: str | None = None
    loads: int = 0

    def write(self, path: Path, record: ExportRecord) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/factor", repr(self.factor))

    def load(self, path: Path) -> Callable[[Any], Mapping[str, np.ndarray]]:
        self.loads += 1
        with zipfile.ZipFile(path) as archive:
            factor = float(archive.read("model/factor"))
        return lambda values: {k: v * factor for k, v in truth(values).items() if k != self.drop}


PARITY = Parity(SAMPLES, truth, TOLERANCES)


def test_an_export_that_agrees_is_published_with_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    returned = export_model(path, ZipExporter(1.0 + 1e-9), record(), PARITY)
    assert read_record(path) == returned
    assert returned.parity["sum"]["unit"] == "m"
    assert 0 < returned.parity["sum"]["found"] < returned.parity["sum"]["allowed"]
    assert returned.parity["product"]["worst_sample"] == "large"
    assert list(tmp_path.iterdir()) == [path], "drafts are gone"


def test_every_quantity_that_deviates_is_listed_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ParityError) as caught:
        export_model(tmp_path / "model.zip", ZipExporter(1.01), record(), PARITY)
    text = str(caught.value)
    assert "sum: expected within 4.0e-06 m, found 3.0e-02 m (small)" in text
    assert "product: expected within 6.0e+00 m², found 6.0e+04 m² (large)" in text
    assert text.count("expected within") == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_what_is_not_finite_agrees_with_nothing(tmp_path: Path, factor: float) -> None:
    with pytest.raises(ParityError, match="sum: expected within"):
        export_model(tmp_path / "model.zip", ZipExporter(factor), record(), PARITY)


def test_a_missing_quantity_deviates_without_bound(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"product: expected within .*, found inf m²"):
        export_model(tmp_path / "model.zip", ZipExporter(drop="product"), record(), PARITY)


def test_another_shape_deviates_without_bound(tmp_path: Path) -> None:
    parity = Parity(SAMPLES, lambda values: {**truth(values), "sum": np.zeros(7)}, TOLERANCES)
    with pytest.raises(ParityError, match=r"sum: expected within .* found inf m"):
        export_model(tmp_path / "model.zip", ZipExporter(), record(), parity)


def test_an_export_of_the_same_run_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    export_model(path, ZipExporter(), record(), PARITY)
    export_model(path, ZipExporter(1.0 + 1e-9), record(), PARITY)
    assert zipfile.ZipFile(path).read("model/factor") == b"1.000000001"


def test_another_runs_export_is_left_alone_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    export_model(path, ZipExporter(), record("run-a"), PARITY)
    exporter = ZipExporter()
    with pytest.raises(OverwriteError, match=r"export of run run-b, found a model of run run-a.*--overwrite"):
        export_model(path, exporter, record("run-b"), PARITY)
    assert exporter.loads == 0, "refused before anything is computed"
    assert read_record(path).run_id == "run-a"
    export_model(path, exporter, record("run-b"), PARITY, overwrite=True)
    assert read_record(path).run_id == "run-b"


def test_a_file_that_nobody_can_identify_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_text("thesis")
    with pytest.raises(OverwriteError, match="found something that milepost did not export"):
        export_model(path, ZipExporter(), record(), PARITY)
    assert path.read_text() == "thesis"


def test_a_failed_export_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    export_model(path, ZipExporter(), record(), PARITY)
    before = path.read_bytes()
    with pytest.raises(ParityError):
        export_model(path, ZipExporter(2.0), record(), PARITY)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"there is no folder '.*absent'. Create it first"):
        export_model(tmp_path / "absent" / "model.zip", ZipExporter(), record(), PARITY)


def test_a_program_that_its_record_changes_is_not_published(tmp_path: Path) -> None:
    class Fragile(ZipExporter):
        def load(self, path: Path) -> Callable[[Any], Mapping[str, np.ndarray]]:
            program = super().load(path)
            return program if self.loads == 1 else lambda values: {k: v + 1 for k, v in program(values).items()}

    with pytest.raises(ParityError, match="the program changed when its record was added"):
        export_model(tmp_path / "model.zip", Fragile(), record(), PARITY)
    assert list(tmp_path.iterdir()) == []
