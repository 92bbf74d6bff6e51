"""One copy of Lightning is used, the one that the process uses; each is tried in a fresh interpreter."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milepost.errors import MissingDependencyError
from milepost.lightning import distribution

FIT = """
import sys, warnings
warnings.simplefilter("ignore")
{imports}
import torch
from torch.utils.data import DataLoader, TensorDataset

class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, index):
        return self.layer(batch[0]).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

settings = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
settings |= dict(max_epochs=1, default_root_dir={folder!r})
from milepost.lightning import ExactResume, MilepostCheckpointIO
pl.Trainer(plugins=[MilepostCheckpointIO()], callbacks=[ExactResume()], **settings).fit(
    Line(), DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2)
)
print({loaded})
"""


def run(imports: str, loaded: str, folder: Path) -> str:
    code = FIT.format(imports=imports, loaded=loaded, folder=str(folder))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert (folder / "checkpoints" / "epoch=0-step=2.ckpt").exists()
    return process.stdout.splitlines()[-1]


def test_a_trainer_of_the_older_name_is_served_without_the_other(tmp_path: Path) -> None:
    found = run("import pytorch_lightning as pl", "'lightning' in sys.modules", tmp_path)
    assert found == "False"


def test_a_trainer_imported_after_us_is_served_too(tmp_path: Path) -> None:
    imports = "import milepost.lightning.distribution as chosen\nimport pytorch_lightning as pl"
    assert run(imports, "chosen.TRAINER", tmp_path) == "lightning.pytorch"


def test_what_is_imported_comes_first_then_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning", object())  # type: ignore[misc]
    assert distribution._chosen() == ("lightning.pytorch", "lightning.fabric")
    monkeypatch.delitem(sys.modules, "lightning.pytorch")
    assert distribution._chosen() == ("pytorch_lightning", "lightning_fabric")
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    assert distribution._chosen() == ("lightning.pytorch", "lightning.fabric")


def test_without_lightning_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lightning.pytorch")
    monkeypatch.delitem(sys.modules, "pytorch_lightning", raising=False)

    def absent(name: str) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(MissingDependencyError, match=r"found neither. Install one of them: pip install 'milepost\["):
        distribution._chosen()
