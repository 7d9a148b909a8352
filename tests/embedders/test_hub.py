"""Models chosen by name: what they resolve to, what makes them other models, and what each refusal says to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from embedders.base import load_embedder
from embedders.hub import load_pretrained
from embedders.specs import SPECS, resolve_spec
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, WeightsError
from feature_repo.settings import Settings, load_settings
from tests.embedders import tiny

Resolve = Callable[..., EmbeddingSpec]


@pytest.fixture
def resolve(settings: Settings) -> Resolve:
    """The spec of a name under a choice of models."""

    def _resolve(name: str, **models: str) -> EmbeddingSpec:
        return resolve_spec(name, settings.model_copy(update={"models": models}))

    return _resolve


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and nothing in the hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def load(name: str, models: Mapping[str, str], folder: Path) -> Any:
    return load_embedder(name, load_settings(home=folder / "home", models=models, device="cpu"))


class TestFamilies:
    def test_an_unknown_one_is_told_the_nearest(self, resolve: Resolve) -> None:
        with pytest.raises(
            ConfigurationError, match=r"LARDER_MODELS\): no model family 'debrta'; nearest: deberta; valid"
        ):
            resolve("minilm", debrta="/folder")

    def test_bundled_embedders_have_none(self, resolve: Resolve) -> None:
        with pytest.raises(ConfigurationError, match="no model family 'minilm'"):
            resolve("minilm", minilm="/folder")

    def test_both_towers_share_one(self, clip_folder: Path, resolve: Resolve) -> None:
        image, text = (resolve(name, clip=str(clip_folder)) for name in ("clip_image", "clip_text"))
        assert image.dim == text.dim == 16
        assert (image.token_dim, text.token_dim) == (32, 16)
        assert image.weights == text.weights
        assert set(image.query_modalities) == set(text.query_modalities) == {Modality.IMAGE, Modality.TEXT}


class TestOpenClip:
    def test_an_unknown_model_lists_the_valid_ones(self, resolve: Resolve) -> None:
        with pytest.raises(
            ConfigurationError, match=r"LARDER_MODELS=clip=.*'ViT-0'; valid: .*ViT-B-32, .*local-dir:FOLDER"
        ):
            resolve("clip_text", clip="ViT-0@openai")

    def test_without_weights_it_says_where_to_get_them(self, resolve: Resolve) -> None:
        with pytest.raises(WeightsError, match=r"no weights are named.*LARDER_MODELS=clip=MODEL@.*efficientnet_lite0"):
            resolve("clip_image", clip="ViT-B-32")

    def test_a_checkpoint_is_known_by_its_bytes_not_its_path(self, tmp_path: Path, resolve: Resolve) -> None:
        for name, data in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
            (tmp_path / name).write_bytes(data)
        a, b, c = (resolve("clip_image", clip=f"ViT-B-32@{tmp_path / name}") for name in ("a.pt", "b.pt", "c.pt"))
        assert a.digest == b.digest != c.digest
        assert a.dim == 512

    def test_model_and_tag_are_part_of_the_digest(self, resolve: Resolve) -> None:
        chosen = ("ViT-B-32@openai", "ViT-B-32@laion400m_e32", "ViT-B-16@openai")
        assert len({resolve("clip_text", clip=model).digest for model in chosen}) == 3

    def test_siglip_2_is_known_without_a_look_at_the_hub(self, resolve: Resolve) -> None:
        spec = resolve("siglip_image")
        assert (spec.dim, spec.token_dim, spec.weights) == (768, 768, "tag webli")
        assert spec.options["model"] == "ViT-B-16-SigLIP2-256"

    def test_a_folder_is_known_by_its_files(self, tmp_path: Path, clip_folder: Path, resolve: Resolve) -> None:
        copy = shutil.copytree(clip_folder, tmp_path / "copy")
        there = resolve("clip_image", clip=f"local-dir:{clip_folder}").digest
        assert resolve("clip_image", clip=str(copy)).digest == there
        (copy / "open_clip_pytorch_model.bin").write_bytes(b"other")
        assert resolve("clip_image", clip=str(copy)).digest != there

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": {"embed_dim": "wide"}}'])
    def test_a_bad_config_is_a_configuration_error(self, text: str, tmp_path: Path, resolve: Resolve) -> None:
        (tmp_path / "open_clip_config.json").write_text(text)
        with pytest.raises(ConfigurationError, match=r"open_clip_config\.json is not an open_clip config"):
            resolve("clip_image", clip=str(tmp_path))

    @pytest.mark.usefixtures("offline")
    def test_what_cannot_be_loaded_says_what_to_do(self, clip_folder: Path, tmp_path: Path) -> None:
        broken = shutil.copytree(clip_folder, tmp_path / "broken")
        (broken / "open_clip_pytorch_model.bin").write_bytes(b"no weights")
        for model in (str(broken), "ViT-B-32@no_such_tag", "ViT-B-32@laion2b_s34b_b79k"):
            with pytest.raises(WeightsError, match=r"LARDER_MODELS=clip=MODEL@/path/to/checkpoint.*efficientnet_lite0"):
                load("clip_image", {"clip": model}, tmp_path)


class TestTransformers:
    def test_a_folder_is_known_by_its_files_not_its_place(self, tmp_path: Path, resolve: Resolve) -> None:
        (tmp_path / "bert").mkdir()
        models = tiny.bert(tmp_path / "bert")
        spec = resolve("bert", **models)
        assert (spec.dim, spec.token_dim) == (32, 32)
        moved = shutil.copytree(tmp_path / "bert", tmp_path / "moved")
        assert resolve("bert", bert=str(moved)).digest == spec.digest
        (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
        assert resolve("bert", bert=str(moved)).digest != spec.digest

    @pytest.mark.usefixtures("offline")
    def test_a_name_out_of_reach_says_what_to_do(self, resolve: Resolve) -> None:
        with pytest.raises(WeightsError, match=r"cannot load bert-base-uncased .*LARDER_MODELS=bert=/path.*minilm"):
            resolve("bert")

    def test_a_name_in_the_cache_needs_no_network(
        self, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
    ) -> None:
        repository = tmp_path / "cache" / "models--some--bert"
        for path, text in (("refs/main", "abc"), ("snapshots/abc/config.json", json.dumps({"hidden_size": 48}))):
            (repository / path).parent.mkdir(parents=True)
            (repository / path).write_text(text)
        spec = resolve("bert", bert="some/bert")
        assert (spec.dim, spec.weights, spec.options["model"]) == (48, "hub some/bert", "some/bert")

    def test_a_config_of_another_kind_is_refused(self, resolve: Resolve, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"d_model": 8}')
        with pytest.raises(ConfigurationError, match="no whole number 'hidden_size': is it a model for bert"):
            resolve("bert", bert=str(tmp_path))

    def test_weights_that_lack_some_are_refused(self, tmp_path: Path) -> None:
        models = tiny.vit(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
        save_file(
            {k: v for k, v in state.items() if "layernorm" not in k}, tmp_path / "model.safetensors", {"format": "pt"}
        )
        with pytest.raises(WeightsError, match=r"vit: cannot load .*lack weights of the model: .*layernorm"):
            load("vit", models, tmp_path)

    def test_a_tokeniser_that_is_not_there_is_not_made_up(self, tmp_path: Path) -> None:
        models = tiny.deberta(tmp_path)
        for path in tmp_path.glob("tokenizer*"):
            path.unlink()
        with pytest.raises(WeightsError, match="its tokeniser does not fit"):
            load("deberta", models, tmp_path)

    def test_a_revision_reaches_the_loader_and_the_terminal_is_left_as_it_was(self) -> None:
        def loader(source: str, **kwargs: object) -> tuple[str, dict[str, object], bool]:
            return source, kwargs, logging.is_progress_bar_enabled()

        before = logging.is_progress_bar_enabled()
        assert load_pretrained(loader, "some/bert@abc", SPECS["bert"]) == ("some/bert", {"revision": "abc"}, False)
        assert logging.is_progress_bar_enabled() == before


class TestTimm:
    def test_widths_come_from_the_model(self, tmp_path: Path, resolve: Resolve) -> None:
        models = tiny.save_timm(tmp_path, "test_vit")
        spec = resolve("vit", **models)
        assert spec.dim == spec.token_dim == 64
        assert str(tmp_path) not in str(spec)

    def test_an_unknown_model_is_a_configuration_error(self, resolve: Resolve) -> None:
        with pytest.raises(ConfigurationError, match="timm builds no model 'no_such_net'"):
            resolve("vit", vit="timm:no_such_net@/weights")

    def test_a_checkpoint_of_another_model_is_refused(self, tmp_path: Path) -> None:
        other = tiny.save_timm(tmp_path, "test_convnext")["vit"].partition("@")[2]
        with pytest.raises(WeightsError, match=r"cannot load timm:test_vit.*lacks weights of the model"):
            load("vit", {"vit": f"timm:test_vit@{other}"}, tmp_path)
