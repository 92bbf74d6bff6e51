"""`milepost export` and `milepost eval` from the command line: formats, metadata, and every refusal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import ase.io
import ase.units
import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet
from metatomic_ase import MetatomicCalculator

import tiny
from milepost.atoms import Calculator
from milepost.checkpoint import load_checkpoint
from milepost.cli import main
from milepost.export import read_record

METADATA = """
name: Ethanol, tiny
authors: [A. Author, B. Author]
references:
  model: "doi:10.2/model"
  implementations: [typing error]
licence: CC-BY-4.0
"""

Milepost = Callable[..., tuple[int, str, str]]


@pytest.fixture
def milepost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Milepost:
    """Run the command in a folder that holds a checkpoint; return status, output and errors."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny.checkpoint(), "model.ckpt")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_the_default_is_a_metatomic_file_beside_the_checkpoint(milepost: Milepost) -> None:
    status, output, _ = milepost("export", "model.ckpt")
    assert status == 0
    assert "exported: model.pt" in output
    assert "forces: within" in output
    assert read_record("model.pt").format == "metatomic"
    atoms = [tiny.ethanol(), tiny.ethanol()]
    for one, file in zip(atoms, ("model.ckpt", "model.pt"), strict=True):
        one.calc = Calculator(file)
    assert tiny.deviation(atoms[0].get_forces(), atoms[1].get_forces()) < 1e-6


def test_metadata_goes_into_the_file_and_typing_errors_are_noted(milepost: Milepost) -> None:
    Path("metadata.yaml").write_text(METADATA)
    status, _, errors = milepost("export", "cairn", "model.ckpt", "-o", "named.pt", "--metadata", "metadata.yaml")
    assert status == 0, errors
    assert "note: metadata: 'implementations' is kept as it is; did you mean 'implementation'?" in errors
    metadata = read_record("named.pt").metadata
    assert metadata["authors"] == ["A. Author", "B. Author"]
    assert metadata["references"] == {"model": ["doi:10.2/model"], "implementations": ["typing error"]}
    assert metadata["licence"] == "CC-BY-4.0"
    assert "'Ethanol, tiny'" in repr(Calculator("named.pt"))


def test_metadata_goes_into_a_new_checkpoint(milepost: Milepost) -> None:
    Path("metadata.yaml").write_text(METADATA)
    status, output, errors = milepost("export", "model.ckpt", "-o", "named.ckpt", "-m", "metadata.yaml")
    assert status == 0, errors
    assert "named.ckpt: blake3:" in output
    with load_checkpoint("named.ckpt") as new, load_checkpoint("model.ckpt") as old:
        assert new.record.metadata["metadata"]["name"] == "Ethanol, tiny"
        assert (new.record.run_id, new.record.step) == (old.record.run_id, old.record.step)
        assert new.components == old.components
        assert new.options_yaml == old.options_yaml
        assert new.verify() == []
        for name, tensor in old.state("model").items():
            assert np.array_equal(new.state("model")[name].numpy(), tensor.numpy())
    assert "doi:10.2/model" in Calculator("named.ckpt").citation()


def refusal(result: tuple[int, str, str], status: int = 1) -> str:
    found, _, errors = result
    assert found == status, errors
    assert "Traceback" not in errors
    return errors


def test_another_runs_export_is_not_replaced(milepost: Milepost) -> None:
    shutil.copy(tiny.scripted(), "model.pt")
    shutil.copy(tiny.checkpoint(run_id="another-run"), "other.ckpt")
    errors = refusal(milepost("export", "other.ckpt", "-o", "model.pt"))
    assert f"expected a free name or an export of run another-run, found a model of run {tiny.RUN}" in errors
    assert "--overwrite" in errors
    assert read_record("model.pt").run_id == tiny.RUN


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"1\n\nH 0 0 0\n", "found a file of structures in XYZ format"),
        (b"", "found an empty file"),
        (b"\x80\x04pickle", "found a pickle"),
    ],
)
def test_a_wrong_file_is_named(milepost: Milepost, content: bytes, text: str) -> None:
    Path("wrong.ckpt").write_bytes(content)
    errors = refusal(milepost("export", "wrong.ckpt"))
    assert "could not export 'wrong.ckpt': expected a checkpoint, " + text in errors


def test_an_exported_model_is_not_exported_again(milepost: Milepost) -> None:
    shutil.copy(tiny.scripted(), "model.pt")
    errors = refusal(milepost("export", "model.pt", "-o", "again.pt"))
    assert "found a model that is exported already (metatomic). Give the checkpoint" in errors


def test_a_missing_file_is_named(milepost: Milepost) -> None:
    assert "could not export 'absent.ckpt': expected a checkpoint, found no such file" in refusal(
        milepost("export", "absent.ckpt")
    )


def test_a_damaged_checkpoint_is_refused(milepost: Milepost) -> None:
    data = bytearray(Path("model.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    Path("model.ckpt").write_bytes(data)
    assert "model.safetensors" in refusal(milepost("export", "model.ckpt"))
    assert not Path("model.pt").exists()


def test_another_architecture_is_refused(milepost: Milepost) -> None:
    assert "expected a model of architecture 'pet', found 'cairn'" in refusal(milepost("export", "pet", "model.ckpt"))


def test_another_suffix_is_refused(milepost: Milepost) -> None:
    assert "expected a name ending in .pt or .pt2, found '.onnx'" in refusal(
        milepost("export", "model.ckpt", "-o", "model.onnx")
    )


def test_a_checkpoint_without_metadata_is_no_export(milepost: Milepost) -> None:
    assert "expected --metadata FILE" in refusal(milepost("export", "model.ckpt", "-o", "copy.ckpt"), status=2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a list", "expected lines of 'key: value', found list"),
        (
            "name: 3\nauthors: {a: b}",
            "name: expected text, found 3\n  authors: expected a list of names, found",
        ),
        ("references: {model: 3}", "references.model: expected a list of texts, found 3"),
        ("references: text", "references: expected model, architecture, implementation, found 'text'"),
        ("name: [", "could not read metadata from 'metadata.yaml'"),
        (
            "made: 2026-02-30",
            "could not read metadata from 'metadata.yaml': day is out of range for month. Give a YAML",
        ),
        (
            "key: !!binary aGVsbG8=\nlist:\n- .nan\n- {set: !!set {a}}",
            "key: expected text, a number, a date, a list or keys with values, found bytes\n"
            "  list[0]: expected text, a number, a date, a list or keys with values, found nan\n"
            "  list[1].set: expected text, a number, a date, a list or keys with values, found set\n"
            "Correct the file.",
        ),
        ("a: &a\n  b: *a", "a.b: expected a value, found an alias inside the value that it repeats"),
    ],
)
def test_wrong_metadata_is_explained(milepost: Milepost, text: str, complaint: str) -> None:
    Path("metadata.yaml").write_text(text)
    assert complaint in refusal(milepost("export", "model.ckpt", "-m", "metadata.yaml"))


DATED = """
name: 2026-03-01
made: 2026-03-01
when: {start: 2026-03-01 12:30:00, end: 2026-03-01T12:30:00Z}
2026-03-02: [2026-03-03, 1.5, null, yes]
"""


@pytest.mark.parametrize("target", ["dated.pt", "dated.ckpt"])
def test_dates_in_metadata_become_text(milepost: Milepost, target: str) -> None:
    Path("metadata.yaml").write_text(DATED)
    status, _, errors = milepost("export", "model.ckpt", "-o", target, "-m", "metadata.yaml")
    assert status == 0, errors
    assert Calculator(target).metadata == {
        "name": "2026-03-01",
        "made": "2026-03-01",
        "when": {"start": "2026-03-01T12:30:00", "end": "2026-03-01T12:30:00+00:00"},
        "2026-03-02": ["2026-03-03", 1.5, None, True],
    }


@pytest.mark.parametrize("kind", ["checkpoint", "scripted"])
def test_eval_prints_errors_and_writes_predictions(milepost: Milepost, kind: str) -> None:
    file = tiny.checkpoint() if kind == "checkpoint" else tiny.scripted()
    atoms = tiny.ethanol()
    atoms.calc = SinglePointCalculator(atoms, energy=-4189.0, forces=np.zeros((9, 3)))
    ase.io.write("frames.xyz", [atoms] * 3, format="extxyz")
    Path("eval.yaml").write_text("systems: frames.xyz\ntargets: {energy: {unit: eV}}\n")
    status, output, errors = milepost("eval", str(file), "eval.yaml", "-o", "out.xyz")
    assert status == 0, errors
    for text in (
        "3 frames, 27 atoms",
        "energy RMSE",
        "eV/atom",
        "forces MAE",
        "eV/Å",
        "µs per atom",
        "out.xyz",
    ):
        assert text in output
    assert errors == f"evaluating tiny from {file} ({'checkpoint' if kind == 'checkpoint' else 'metatomic'})\n"
    assert output.startswith(
        "model: tiny, by A. Author\na potential for tests\nplease cite:\n  model: doi:10.1/model\n"
        "  architecture: doi:10.1/architecture\n"
    )
    predicted = ase.io.read("out.xyz", index=":")
    atoms.calc = Calculator(file)
    assert tiny.deviation(predicted[2].get_forces(), atoms.get_forces()) < 1e-6
    assert "found a file" in refusal(milepost("eval", str(file), "eval.yaml", "-o", "out.xyz"))


def test_eval_says_nothing_of_a_model_that_nobody_described(milepost: Milepost) -> None:
    shutil.copy(tiny.checkpoint(), "tiny.ckpt")
    Path("metadata.yaml").write_text("licence: CC0\n")
    assert milepost("export", "tiny.ckpt", "-o", "plain.ckpt", "-m", "metadata.yaml")[0] == 0
    ase.io.write("frames.xyz", tiny.ethanol(), format="extxyz")
    Path("eval.yaml").write_text("systems: frames.xyz\n")
    status, output, errors = milepost("eval", "plain.ckpt", "eval.yaml")
    assert status == 0, errors
    assert errors == "evaluating a model from plain.ckpt (checkpoint)\n"
    assert output.startswith("plain.ckpt (checkpoint): 1 frames, 9 atoms\n")


def test_eval_refuses_another_file(milepost: Milepost) -> None:
    Path("eval.yaml").write_text("systems: frames.xyz\n")
    assert "expected a trained model, found no such file" in refusal(milepost("eval", "absent.pt", "eval.yaml"))
    assert "expected a checkpoint or a model exported by milepost" in refusal(
        milepost("eval", "eval.yaml", "eval.yaml")
    )


def metatomics(file: Path) -> MetatomicCalculator:
    """Open a `.pt` as its users do without Milepost."""
    return MetatomicCalculator(file, device="cpu")


# metatomic-ase divides by the volume that a molecule does not have.
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
@pytest.mark.parametrize("opened", [Calculator, metatomics], ids=["ours", "metatomic-ase"])
def test_energy_is_conserved_by_a_metatomic_file(opened: Callable[[Path], AseCalculator]) -> None:
    """Single precision rounds energies of 1 eV by 1e-7 eV; the bound leaves room for the integrator."""
    atoms = tiny.ethanol()
    atoms.calc = opened(tiny.scripted())
    spread = np.sqrt(300 * ase.units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(0).normal(size=(9, 3)) * spread)
    dynamics, totals, kinetic = VelocityVerlet(atoms, 0.5 * ase.units.fs), [], []
    # TorchScript's optimizer takes seconds whenever the number of pairs changes.
    with torch.jit.optimized_execution(False):
        for _ in dynamics.irun(60):
            totals.append(atoms.get_total_energy())
            kinetic.append(atoms.get_kinetic_energy())
    assert len(totals) == 61
    assert max(totals) - min(totals) < 2e-5
    assert max(kinetic) - min(kinetic) > 1e-4, "energy moved between its two forms"
