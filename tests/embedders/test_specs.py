from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedders.specs import SPECS, resolve_spec
from feature_repo.contracts import Modality
from feature_repo.errors import ConfigurationError, WeightsError
from feature_repo.settings import Settings


def test_the_table_is_keyed_by_name() -> None:
    assert sorted(SPECS) == ["clip_image", "clip_text", "efficientnet_lite0", "minilm"]
    assert all(name == spec.name and spec.licence and spec.query_modalities for name, spec in SPECS.items())


def test_bundled_specs_need_no_settings(settings: Settings) -> None:
    assert resolve_spec("minilm", settings) is SPECS["minilm"]
    assert resolve_spec("efficientnet_lite0", settings).dim == 1280


def test_listing_and_resolving_import_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from embedders.specs import resolve_spec; from feature_repo.settings import Settings;"
        f"spec = resolve_spec('clip_image', Settings(home={str(tmp_path)!r}, clip_weights='openai'));"
        "assert spec.dim == 512; print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "embedders.specs" in modules
    assert not {"torch", "open_clip", "transformers", "feast"} & set(modules)


def test_an_unknown_name_lists_the_valid_ones(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="'resnet'; valid: clip_image, clip_text, efficientnet_lite0, minilm"):
        resolve_spec("resnet", settings)


def test_an_unknown_clip_model_lists_the_valid_ones(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"LARDER_CLIP_MODEL.*'ViT-0'; valid: .*ViT-B-32, .*local-dir:FOLDER"):
        resolve_spec("clip_text", settings.model_copy(update={"clip_model": "ViT-0"}))


def test_a_clip_without_weights_says_where_to_get_them(settings: Settings) -> None:
    with pytest.raises(WeightsError, match=r"LARDER_CLIP_WEIGHTS.*efficientnet_lite0 and minilm"):
        resolve_spec("clip_image", settings)


def test_a_checkpoint_is_known_by_its_bytes_not_its_path(tmp_path: Path, settings: Settings) -> None:
    for name, data in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (
        resolve_spec("clip_image", settings.model_copy(update={"clip_weights": str(tmp_path / name)}))
        for name in ("a.pt", "b.pt", "c.pt")
    )
    assert a.digest == b.digest != c.digest
    assert a.dim == 512


def test_a_tag_is_part_of_the_digest(settings: Settings) -> None:
    one, other = (
        resolve_spec("clip_text", settings.model_copy(update={"clip_weights": tag}))
        for tag in ("openai", "laion400m_e32")
    )
    assert one.digest != other.digest


def test_a_local_folder_is_known_by_its_files(tmp_path: Path, clip_folder: Path, settings: Settings) -> None:
    def resolved(folder: Path) -> str:
        return resolve_spec("clip_image", settings.model_copy(update={"clip_model": f"local-dir:{folder}"})).digest

    copy = shutil.copytree(clip_folder, tmp_path / "copy")
    assert resolved(copy) == resolved(clip_folder)
    (copy / "open_clip_pytorch_model.bin").write_bytes(b"other")
    assert resolved(copy) != resolved(clip_folder)


def test_both_clip_specs_take_both_queries(clip_settings: Settings) -> None:
    for name in ("clip_image", "clip_text"):
        spec = resolve_spec(name, clip_settings)
        assert spec.dim == 16
        assert set(spec.query_modalities) == {Modality.IMAGE, Modality.TEXT}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": {"embed_dim": "wide"}}'])
def test_a_bad_model_config_is_a_configuration_error(text: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"open_clip_config\.json is not an open_clip config"):
        resolve_spec("clip_image", settings.model_copy(update={"clip_model": f"local-dir:{tmp_path}"}))
