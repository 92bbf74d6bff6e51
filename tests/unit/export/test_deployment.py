"""A file leads to the domain that exports and evaluates its model."""

import shutil
import zipfile
from pathlib import Path

import pytest

import tiny
import tiny_classifiers
from milepost.atoms.deployment import AtomsDeployment
from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.errors import NotAnArchiveError, UnknownArchitectureError
from milepost.export import ExportRecord, attach_record
from milepost.export.deployment import Deployment, deployment_for, deployment_of
from milepost.images.deployment import ImagesDeployment
from milepost.model import architectures


def exported(path: Path, architecture: str, form: str) -> Path:
    """Write a file that says it was exported from a model of this architecture, and no more."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data", "")
    attach_record(path, ExportRecord(form, "blake3:00", "run", 1, {"name": architecture}, {}, {}, {}))
    return path


def test_a_checkpoint_is_of_the_domain_of_its_architecture(tmp_path: Path) -> None:
    """Whatever it is named."""
    assert isinstance(deployment_of(tiny.checkpoint()), AtomsDeployment)
    assert isinstance(deployment_of(tiny_classifiers.checkpoint()), ImagesDeployment)
    assert isinstance(deployment_of(Path(shutil.copy(tiny.checkpoint(), tmp_path / "model.onnx"))), AtomsDeployment)


def test_an_exported_model_is_too(tmp_path: Path) -> None:
    """Both domains have compiled programs."""
    assert isinstance(deployment_of(exported(tmp_path / "a.pt2", "cairn", "any")), AtomsDeployment)
    assert isinstance(deployment_of(exported(tmp_path / "b.pt2", "mlp", "any")), ImagesDeployment)


@pytest.mark.parametrize("domain", [AtomsDeployment, ImagesDeployment])
def test_an_exported_model_of_an_absent_architecture_goes_by_its_format(tmp_path: Path, domain: type) -> None:
    for suffix, form in domain().formats.items():
        assert isinstance(deployment_of(exported(tmp_path / f"model{suffix}", "absent", form)), domain)


def test_an_exported_model_of_which_nothing_is_known_names_its_architecture(tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitectureError, match="no architecture 'absent' is installed"):
        deployment_of(exported(tmp_path / "model.pt", "absent", "unheard of"))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_text("text")
    with pytest.raises(NotAnArchiveError, match="expected a checkpoint or a model exported by milepost, found another"):
        deployment_of(path)


def test_a_checkpoint_that_names_no_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    save_checkpoint(path, {"model": {"x": 1}}, options_yaml="seed: 1\n", record=CheckpointRecord("run", 1))
    with pytest.raises(UnknownArchitectureError, match="expected options that name its architecture, found none"):
        deployment_of(path)


def test_every_domain_names_formats_of_its_own() -> None:
    deployments: list[Deployment] = []
    for architecture in architectures():
        found = deployment_for(architecture)
        if found not in deployments:
            deployments.append(found)
    formats = [form for deployment in deployments for form in deployment.formats.values()]
    assert len(deployments) >= 2
    assert len(formats) == len(set(formats))
    assert all(deployment.default_suffix() in deployment.formats for deployment in deployments)
