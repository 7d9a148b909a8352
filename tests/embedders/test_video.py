from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model  # type: ignore[import-untyped]

from embedders.base import load_embedder, load_pinned
from embedders.conv3d import SmallC3D
from embedders.fitted import publish, versions
from embedders.media.image import Fit
from embedders.media.video import Frames, Sampling
from embedders.specs import SPECS, resolve_spec
from embedders.video import ClipReader, summarise
from feature_repo.errors import ConfigurationError, MediaError, StateError, WeightsError
from feature_repo.settings import Settings
from tests.embedders import tiny, video
from tests.embedders.behaviour import item, painted
from tests.embedders.media.clips import write_clip


def with_models(settings: Settings, **models: str) -> Settings:
    return settings.model_copy(update={"models": models})


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def test_a_summary_is_mean_deviation_and_motion() -> None:
    seen = unit(np.random.default_rng(0).normal(size=(3, 8, 5)))
    mean, deviation, motion = seen.mean(1), seen.std(1), np.abs(seen[:, 1:] - seen[:, :-1]).mean(1)
    assert np.allclose((mean**2).sum(1) + (deviation**2).sum(1), 1)  # so neither drowns the other
    assert np.allclose(summarise(seen), unit(np.concatenate([mean, deviation, motion], 1)), atol=1e-6)


def test_a_still_clip_is_its_picture() -> None:
    seen = unit(np.random.default_rng(0).normal(size=(1, 1, 5)))
    assert np.allclose(summarise(seen.repeat(8, 1)), np.pad(seen[0], ((0, 0), (0, 10))), atol=1e-6)
    assert np.allclose(summarise(seen), summarise(seen.repeat(8, 1)), atol=1e-6)


def test_the_order_of_frames_shows_in_the_motion_alone() -> None:
    seen = unit(np.random.default_rng(0).normal(size=(1, 8, 5)))
    before, after = summarise(seen)[0], summarise(seen[:, [0, 4, 1, 5, 2, 6, 3, 7]])[0]
    assert np.abs(before - after)[10:].max() > 0.01
    assert np.allclose(unit(before[:10]), unit(after[:10]), atol=1e-6)


def test_a_picture_finds_the_clip_that_shows_it(settings: Settings, tmp_path: Path) -> None:
    """With the default model: 8 frames of 1,280 features."""
    embedder = load_embedder("frames", settings)
    assert embedder.spec.dim == 3840
    clips = []
    for seed in (1, 2):
        pictures = [np.asarray(painted(seed, 96, 96))] * 4
        path = write_clip(tmp_path / f"{seed}.mkv", pictures, codec="ffv1", pixels="bgr0")
        clips.append(embedder.decode(item(str(seed), video=path)))
    vectors = embedder.encode(clips)
    painted(2, 96, 96).save(tmp_path / "query.png")
    query = embedder.embed_image((tmp_path / "query.png").read_bytes())
    assert vectors[1] @ query > 0.99
    assert vectors[1] @ query > vectors[0] @ query + 0.02


def test_the_image_encoder_is_part_of_the_fingerprint(settings: Settings, clip_folder: Path) -> None:
    default = resolve_spec("frames", settings)
    other = resolve_spec("frames", with_models(settings, frames="clip_image", clip=f"local-dir:{clip_folder}"))
    assert (default.dim, default.token_dim, default.options["model"]) == (3840, 1280, "efficientnet_lite0")
    assert (other.dim, other.token_dim, other.options["model"]) == (48, 16, "clip_image")
    assert default.digest != other.digest
    assert (
        default.digest
        == resolve_spec("frames", settings.model_copy(update={"tokens": {"efficientnet_lite0": 4}})).digest
    )


def test_frames_need_an_encoder_of_pictures(settings: Settings) -> None:
    with pytest.raises(
        ConfigurationError, match=r"frames needs an image embedding, and minilm reads text; set frames="
    ):
        resolve_spec("frames", with_models(settings, frames="minilm"))
    with pytest.raises(ConfigurationError, match=r"unknown embedding 'resnet'; valid: .*efficientnet_lite0"):
        resolve_spec("frames", with_models(settings, frames="resnet"))


def test_a_decoder_that_takes_too_long_is_ended(settings: Settings, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 30)
    reader = ClipReader(Sampling(4), Fit(16, 16), settings.model_copy(update={"media_seconds": 0.0001}))
    with pytest.raises(MediaError, match=r"^too slow: "):
        reader(item("a", video=path))


def test_an_unfitted_net_says_how_to_fit_it(settings: Settings) -> None:
    with pytest.raises(
        ConfigurationError, match=r"not fitted yet: run `larder train conv3d`, or set LARDER_MODELS=conv3d="
    ):
        resolve_spec("conv3d", settings)


def weights(seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {name: value.numpy() for name, value in SmallC3D().state_dict().items()}


def test_a_new_fit_makes_the_vectors_of_the_old_one_stale(settings: Settings) -> None:
    publish(settings, "conv3d", weights(0), {"dim": 256})
    old = resolve_spec("conv3d", settings)
    assert old.dim == 256
    assert resolve_spec("conv3d", settings) == old
    publish(settings, "conv3d", weights(1), {"dim": 256})
    assert resolve_spec("conv3d", settings).digest != old.digest
    publish(settings, "conv3d", weights(0), {"dim": 256})
    assert resolve_spec("conv3d", settings) == old


def test_an_embedder_never_gives_vectors_of_a_fit_that_its_spec_does_not_name(settings: Settings) -> None:
    from embedders.conv3d import Conv3dEmbedder

    publish(settings, "conv3d", weights(0), {"dim": 256})
    spec = resolve_spec("conv3d", settings)
    publish(settings, "conv3d", weights(1), {"dim": 256})
    with pytest.raises(StateError, match="fitted again meanwhile"):
        Conv3dEmbedder(spec, settings)


def test_what_a_release_pins_is_loaded_though_the_encoder_was_fitted_again(settings: Settings) -> None:
    publish(settings, "conv3d", weights(0), {"dim": 256})
    pinned = resolve_spec("conv3d", settings).digest
    publish(settings, "conv3d", weights(1), {"dim": 256})
    assert load_pinned("conv3d", settings, pinned).spec.digest == pinned != resolve_spec("conv3d", settings).digest
    with pytest.raises(StateError, match=r"no longer makes vectors of spec abc.*larder release"):
        load_pinned("conv3d", settings, "abc")


def test_the_settings_may_name_an_earlier_fit(settings: Settings) -> None:
    publish(settings, "conv3d", weights(0), {"dim": 256})
    before = resolve_spec("conv3d", settings)
    first, second = before.digest, publish(settings, "conv3d", weights(1), {"dim": 256})
    assert len(versions(settings, "conv3d")) == 2
    (older,) = set(versions(settings, "conv3d")) - {second.version}
    assert resolve_spec("conv3d", settings.model_copy(update={"fitted": {"conv3d": older}})).digest == first
    with pytest.raises(StateError, match="larder train conv3d"):
        resolve_spec("conv3d", settings.model_copy(update={"fitted": {"conv3d": "unknown"}}))


def test_the_small_net_is_small() -> None:
    assert 300_000 < sum(value.numel() for value in SmallC3D().parameters()) < 1_000_000


def random_clips(side: int) -> list[Frames]:
    rng = np.random.default_rng(0)
    return [np.asarray(rng.integers(0, 256, (16, side, side, 3)), np.uint8) for _ in range(2)]


def test_a_net_of_torchvision_gives_the_features_before_its_classifier(settings: Settings, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_model("mc3_18", weights=None, num_classes=7).eval()  # another number of classes than torchvision's
    torch.save(model.state_dict(), tmp_path / "state.pth")
    chosen = with_models(settings, conv3d=f"mc3_18@{tmp_path / 'state.pth'}")
    embedder = load_embedder("conv3d", chosen)
    assert (embedder.spec.dim, embedder.spec.options["model"]) == (512, "mc3_18")
    clip = random_clips(112)[0][:, ::4, ::4].copy()  # the net takes any size, and a small one is quick
    with torch.inference_mode():
        mean, std = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
        pixels = ((torch.from_numpy(clip) / 255 - mean) / std).permute(3, 0, 1, 2)[None]
        expected = model.avgpool(model.layer4(model.layer3(model.layer2(model.layer1(model.stem(pixels)))))).flatten()
    assert np.allclose(embedder.encode([clip])[0], unit(expected.numpy()), atol=1e-4)


def test_s3d_is_read_before_its_classifier_too(settings: Settings, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(get_model("s3d", weights=None).state_dict(), tmp_path / "state.pth")
    embedder = load_embedder("conv3d", with_models(settings, conv3d=f"s3d@{tmp_path / 'state.pth'}"))
    assert (embedder.spec.dim, embedder.spec.options["size"]) == (1024, 224)
    assert embedder.encode(random_clips(64)).shape == (2, 1024)


def test_weights_of_another_net_are_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("text.pth", "other.pth"):
        with pytest.raises(WeightsError, match=r"conv3d: cannot load r3d_18@.*LARDER_MODELS=conv3d=MODEL@/path"):
            load_embedder("conv3d", with_models(settings, conv3d=f"r3d_18@{tmp_path / name}"))
    with pytest.raises(WeightsError, match=r"conv3d: cannot load r3d_18@no_such_tag"):
        load_embedder("conv3d", with_models(settings, conv3d="r3d_18@no_such_tag"))


def test_an_unknown_net_lists_the_valid_ones(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="'c3d'; valid: mc3_18, r2plus1d_18, r3d_18, s3d, small"):
        resolve_spec("conv3d", with_models(settings, conv3d="c3d"))


def test_weights_in_a_file_are_known_by_their_bytes(settings: Settings, tmp_path: Path) -> None:
    for name, data in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(data)
    a, b, c, tag = (
        resolve_spec("conv3d", with_models(settings, conv3d=f"r2plus1d_18@{given}")).digest
        for given in (*(tmp_path / name for name in ("a.pth", "b.pth", "c.pth")), "KINETICS400_V1")
    )
    assert a == b != c != tag
    assert resolve_spec("conv3d", with_models(settings, conv3d="r2plus1d_18")).digest != tag


def test_a_video_transformer_reads_as_many_frames_as_its_config_says(settings: Settings, tmp_path: Path) -> None:
    embedder = load_embedder("videomae", with_models(settings, **video.videomae(tmp_path)))
    path = write_clip(tmp_path / "a.mp4", 30)
    assert embedder.decode(item("a", video=path)).shape == (4, 32, 32, 3)


def test_every_video_spec_says_where_it_comes_from() -> None:
    assert {name for name, spec in SPECS.items() if spec.modality == "video"} == {
        "frames",
        "conv3d",
        "videomae",
        "xclip",
    }
    assert tiny.CASES.keys().isdisjoint(video.CASES)
