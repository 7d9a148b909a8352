from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedders.fitted import current, encoder_dir, load_weights, publish
from feature_repo.errors import StateError
from feature_repo.files import digest_file
from feature_repo.settings import Settings

ONE = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7)}
OTHER = {"b": np.zeros((2, 3), np.float32), "a": np.array(7)}


def test_nothing_is_fitted_at_first(settings: Settings) -> None:
    assert current(settings, "net") is None


def test_what_is_published_is_read_back(settings: Settings) -> None:
    version = publish(settings, "net", ONE, {"dim": 3, "epochs": [1.5, 2.5]})
    assert current(settings, "net") == version
    assert version.weights == digest_file(version.folder / "weights.safetensors")
    assert version.facts == {"dim": 3, "epochs": [1.5, 2.5]}
    read = load_weights(version)
    assert all(np.array_equal(read[name], value) and read[name].dtype == value.dtype for name, value in ONE.items())


def test_encoders_do_not_meet(settings: Settings) -> None:
    publish(settings, "net", ONE, {})
    assert current(settings, "other") is None


def test_the_same_weights_are_the_same_version(settings: Settings) -> None:
    first = publish(settings, "net", ONE, {"run": 1})
    written = (first.folder / "weights.safetensors").stat().st_mtime_ns
    other = publish(settings, "net", OTHER, {"run": 2})
    assert other.version != first.version
    assert publish(settings, "net", dict(reversed(ONE.items())), {"run": 3}) == first
    assert (first.folder / "weights.safetensors").stat().st_mtime_ns == written
    assert current(settings, "net") == first


def test_transposed_arrays_are_written_as_they_read(settings: Settings) -> None:
    version = publish(settings, "net", {"a": ONE["b"].T}, {})
    assert np.array_equal(load_weights(version)["a"], ONE["b"].T)


@pytest.mark.parametrize("file", ["weights.safetensors", "manifest.json"])
def test_damage_is_noticed_and_mended_by_publishing_again(file: str, settings: Settings) -> None:
    version = publish(settings, "net", ONE, {"dim": 3})
    (version.folder / file).write_bytes(b"{}")
    with pytest.raises(StateError, match=r"holds no readable encoder .* `larder train net`"):
        load_weights(current(settings, "net") or version)
    assert publish(settings, "net", ONE, {"dim": 3}) == version
    assert load_weights(version)["a"] == 7


def test_a_version_that_is_gone_is_an_error_and_not_unfitted(settings: Settings) -> None:
    publish(settings, "net", ONE, {})
    (encoder_dir(settings, "net") / "CURRENT").write_text("0123\n")
    with pytest.raises(StateError, match="holds no readable encoder"):
        current(settings, "net")


def test_a_writer_killed_half_way_has_changed_nothing(settings: Settings, tmp_path: Path) -> None:
    version = publish(settings, "net", ONE, {})
    program = (
        "import os, signal, sys, numpy as np; from pathlib import Path; from embedders import fitted;"
        "from feature_repo.settings import load_settings;"
        "fitted.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "fitted.publish(load_settings(home=Path(sys.argv[1])), 'net', {'a': np.zeros(3)}, {})"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(settings.home)], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert current(settings, "net") == version
    assert len(list(encoder_dir(settings, "net").glob(".writing-*"))) == 1
    publish(settings, "net", OTHER, {})
    assert not list(encoder_dir(settings, "net").glob(".writing-*"))
