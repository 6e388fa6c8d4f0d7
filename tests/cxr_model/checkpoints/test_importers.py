"""Importers: published layouts give the same logits, and no pickled code is run."""

import hashlib
import os
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121

from cxr_model.checkpoints.importers import (
    TORCHXRAYVISION_LABELS,
    Layout,
    import_bundle,
    import_network,
    torchvision_keys,
)
from cxr_model.checkpoints.unpickling import read_checkpoint
from cxr_model.errors import CheckpointError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def original(outputs: int = 14, channels: int = 3) -> nn.Module:
    """Return torchvision's network with random weights and statistics, in eval mode."""
    torch.manual_seed(1)
    network = densenet121(weights=None, num_classes=outputs)
    if channels != 3:
        network.features.conv0 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_mean"), -0.1, 0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    assert isinstance(network, nn.Module)
    return network.eval()


def old_keys(state: dict[str, Tensor], *, counters: bool = False) -> dict[str, Tensor]:
    """Return the state under the names of CheXNet reproductions saved with torch 0.3."""
    renamed = OrderedDict()
    for key, value in state.items():
        if "num_batches_tracked" in key and not counters:
            continue
        old = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key)
        old = old.replace("classifier.", "classifier.0.")
        renamed[f"module.densenet121.{old}"] = value
    return renamed


def difference(
    path: Path, network: nn.Module, rows: list[int] | None = None, **options: Any
) -> float:
    """Return the largest difference in logits of the imported network to the original."""
    imported = import_network(path, **options).network
    largest = 0.0
    for films in (1, 2, 3, 8):
        x = torch.randn(films, imported.channels, 64, 64)
        with torch.no_grad():
            logits = network(x) if rows is None else network(x)[:, rows]
            largest = max(largest, float((imported(x).logits - logits).abs().max()))
    return largest


@pytest.fixture(scope="module")
def nih() -> nn.Module:
    return original()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_plain_state_dict(tmp_path: Path, nih: nn.Module, zipped: bool) -> None:
    path = tmp_path / "plain.pt"
    torch.save(nih.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert difference(path, nih) == 0.0


@pytest.mark.parametrize("zipped", [True, False])
def test_the_chexnet_reproductions_old_keys(tmp_path: Path, nih: nn.Module, zipped: bool) -> None:
    path = tmp_path / "m-25012018-123527.pth.tar"
    optimiser = {"state": {1: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    content = {
        "epoch": 3,
        "state_dict": old_keys(nih.state_dict()),
        "best_loss": 0.1,
        "optimizer": optimiser,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert difference(path, nih) == 0.0


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_only_when_allowed(tmp_path: Path, nih: nn.Module, zipped: bool) -> None:
    path = tmp_path / "checkpoint"
    wrapped = original()
    head = nn.Sequential(wrapped.get_submodule("classifier"), nn.Sigmoid())
    wrapped.register_module("classifier", head)
    content = {"model": wrapped, "epoch": 5, "rng_state": torch.get_rng_state(), "LR": 0.01}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"pickled module .*DenseNet"):
        import_network(path)
    assert difference(path, nih, allow_modules=True) == 0.0


@pytest.fixture
def torchxrayvision() -> Iterator[type[nn.Module]]:
    """Yield a class that pickles under the name of torchxrayvision's network."""

    class DenseNet(nn.Module):
        def __init__(self, op_threshs: Tensor | None) -> None:
            super().__init__()
            layers = original(outputs=18, channels=1)
            self.features = layers.get_submodule("features")
            self.classifier = layers.get_submodule("classifier")
            self.op_threshs = op_threshs

        def forward(self, x: Tensor) -> Tensor:
            features = torch.relu(self.features(x)).mean(dim=(2, 3))
            logits = self.classifier(features)
            assert isinstance(logits, Tensor)
            return logits

    package, module = ModuleType("torchxrayvision"), ModuleType("torchxrayvision.models")
    DenseNet.__module__, DenseNet.__qualname__ = module.__name__, "DenseNet"
    module.DenseNet = DenseNet  # type: ignore[attr-defined]
    sys.modules |= {"torchxrayvision": package, module.__name__: module}
    yield DenseNet
    del sys.modules["torchxrayvision"], sys.modules[module.__name__]


def test_torchxrayvision_gives_the_fourteen_in_nih_order(
    tmp_path: Path, torchxrayvision: type[nn.Module]
) -> None:
    thresholds = torch.linspace(0.01, 0.18, 18)
    network = torchxrayvision(thresholds).eval()
    path = tmp_path / "nih-densenet121.pt"
    torch.save(network, path)
    rows = [TORCHXRAYVISION_LABELS.index(label) for label in LABELS]
    assert difference(path, network, rows, allow_modules=True) == 0.0
    imported = import_network(path, allow_modules=True)
    assert imported.layout is Layout.TORCHXRAYVISION
    assert torch.equal(
        imported.network.label_weight, network.get_parameter("classifier.weight")[rows]
    )
    assert imported.thresholds["Cardiomegaly"] == pytest.approx(0.11)
    bundle = import_bundle(path, name="xrv", version="1", now=NOW, allow_modules=True)
    spec = bundle.card.input
    assert (spec.size, spec.channels) == (224, 1)
    assert [(grey - spec.mean[0]) / spec.std[0] for grey in (0.0, 0.5, 1.0)] == [-1024, 0, 1024]


def test_torchxrayvision_as_a_state_dict(tmp_path: Path) -> None:
    network = original(outputs=18, channels=1)
    torch.save(network.state_dict(), tmp_path / "x.pt")
    rows = [TORCHXRAYVISION_LABELS.index(label) for label in LABELS]
    assert difference(tmp_path / "x.pt", network, rows) == 0.0


def test_a_network_not_trained_for_a_finding_is_refused(
    tmp_path: Path, torchxrayvision: type[nn.Module]
) -> None:
    thresholds = torch.full((18,), 0.1)
    thresholds[TORCHXRAYVISION_LABELS.index("Hernia")] = float("nan")
    torch.save(torchxrayvision(thresholds), tmp_path / "chex.pt")
    with pytest.raises(CheckpointError, match="not trained for Hernia"):
        import_network(tmp_path / "chex.pt", allow_modules=True)


def test_the_bundle_keeps_the_logits_and_names_its_source(tmp_path: Path, nih: nn.Module) -> None:
    path = tmp_path / "plain.pt"
    torch.save(nih.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    bundle = import_bundle(path, name="plain", version="1", now=NOW, sha256=digest)
    bundle.save(tmp_path / "bundle")
    read = Bundle.load(tmp_path / "bundle")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(read.network()(x).logits, nih(x))
    assert read.card.provenance["sha256"] == digest
    with pytest.raises(CheckpointError, match="sha256"):
        import_bundle(path, name="plain", version="1", now=NOW, sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.norm5.bias": None}, "missing key features.norm5.bias"),
        ({"features.norm9.bias": torch.zeros(1)}, "unexpected key features.norm9.bias"),
        ({"features.norm5.bias": torch.zeros(7)}, r"norm5.bias has shape \(7,\)"),
        ({"features.norm0.num_batches_tracked": None}, "missing key .*num_batches_tracked"),
        ({"classifier.weight": torch.zeros(15, 1024)}, "3 input channels and 15 outputs"),
        ({"classifier.weight": None}, "missing key classifier.weight"),
        ({"epoch": 3}, "'epoch' holds int"),
    ],
)
def test_a_missing_unexpected_or_misshapen_key_is_named(
    tmp_path: Path, nih: nn.Module, change: dict[str, Any], message: str
) -> None:
    state = {**nih.state_dict(), **change}
    kept = {key: value for key, value in state.items() if value is not None}
    torch.save(kept, tmp_path / "wrong.pt")
    with pytest.raises(CheckpointError, match=message):
        import_network(tmp_path / "wrong.pt")


def test_two_keys_that_become_one_are_refused() -> None:
    with pytest.raises(CheckpointError, match="two keys become"):
        torchvision_keys({"classifier.bias": torch.zeros(1), "classifier.0.bias": torch.ones(1)})


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("allow_modules", [True, False])
def test_no_code_in_a_checkpoint_is_run(tmp_path: Path, zipped: bool, allow_modules: bool) -> None:
    struck, path = tmp_path / "struck", tmp_path / "evil.pt"
    content = {"state_dict": Attack(struck)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"names posix\.system"):
        read_checkpoint(path, allow_modules=allow_modules)
    assert not struck.exists()
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"names posix\.system"):
        read_checkpoint(path, allow_modules=allow_modules)
    assert not struck.exists()


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None), tmp_path / "resnet.pt")
    with pytest.raises(CheckpointError, match=r"torchvision\.models\.resnet\.ResNet"):
        read_checkpoint(tmp_path / "resnet.pt", allow_modules=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken", b"\x80\x02}."])
def test_a_damaged_file_is_refused_with_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.pt").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        import_network(tmp_path / "junk.pt")
    assert "\n" not in str(caught.value)


def test_a_script_archive_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
        archive.writestr("script/code/__torch__.py", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "script.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.pt"):
        import_network(tmp_path / "nothing.pt")
