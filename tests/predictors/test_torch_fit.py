"""A small net on a planted line: the loop stops, keeps the best, and goes on as if it had never been cut."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from feature_repo.errors import StateError
from predictors.torch_fit import Best, Fit, batches, cpu_threads, fit_best, load_net, reproducible, save_net
from predictors.tracking import LocalRun

ROWS = 64


class CutError(Exception):
    """Stands for a kill in the middle of an epoch."""


def make_fit(cut_at: int = 10_000, judged: list[float] | None = None) -> Fit:
    """A net with dropout, so that a fit which forgets the generator's state goes on otherwise."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20)
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32))
    truth = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    said = iter(judged or [])
    epochs = 0

    def train_epoch() -> dict[str, float]:
        nonlocal epochs
        net.train()
        total = 0.0
        for number, rows in enumerate(batches(np.arange(ROWS), 16)):
            if epochs == cut_at and number == 2:
                raise CutError
            loss = nn.functional.mse_loss(net(inputs[rows]), truth[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach())
        schedule.step()
        epochs += 1
        return {"loss": total}

    def validate() -> dict[str, float]:
        net.eval()
        with torch.inference_mode():
            loss = float(nn.functional.mse_loss(net(inputs), truth))
        return {"loss": loss, "score": next(said, -loss)}

    return Fit(net, optimiser, train_epoch, validate, "score", schedule)


def run_fit(
    folder: Path, epochs: int = 6, patience: int = 10, save_after_s: float = 0.0, **made: object
) -> tuple[Fit, Best, LocalRun]:
    run = LocalRun("v", folder)
    with reproducible(3):
        fit = make_fit(**made)  # type: ignore[arg-type]
        return fit, fit_best(fit, epochs, patience, run, "net", save_after_s), run


def weights(fit: Fit) -> Iterator[np.ndarray]:
    return (value.numpy() for value in fit.net.state_dict().values())


def test_it_stops_once_patience_is_out_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    judged = [0.1, 0.3, 0.2, 0.3, 0.1, 0.9]
    fit, best, run = run_fit(tmp_path / "a", epochs=6, patience=3, judged=judged)
    assert best == Best(1, 0.3, 5)  # the equal one later does not count as better
    assert run.curves["net.score"]["valid"] == judged[:5]
    assert len(run.curves["net.loss"]["train"]) == len(run.curves["net.loss"]["valid"]) == 5
    shorter, _, _ = run_fit(tmp_path / "b", epochs=2, judged=judged)
    for kept, expected in zip(weights(fit), weights(shorter), strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_an_epoch_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    _, best, _ = run_fit(tmp_path, epochs=3, judged=[float("nan"), -5.0, float("nan")])
    assert (best.epoch, best.value) == (1, -5.0)


@pytest.mark.parametrize("cut_at", [1, 3, 5])
def test_a_cut_fit_goes_on_to_the_same_weights_and_curves(tmp_path: Path, cut_at: int) -> None:
    whole, best, run = run_fit(tmp_path / "whole")
    with pytest.raises(CutError):
        run_fit(tmp_path / "cut", cut_at=cut_at)
    again, best_again, run_again = run_fit(tmp_path / "cut")
    assert (best_again, run_again.curves) == (best, run.curves)
    for found, expected in zip(weights(again), weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_fit_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    first, best, run = run_fit(tmp_path)
    again, best_again, run_again = run_fit(tmp_path, cut_at=0)  # would raise in its first epoch
    assert (best_again, run_again.curves) == (best, run.curves)
    for found, expected in zip(weights(again), weights(first), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_checkpoints_decide_nothing(tmp_path: Path) -> None:
    often, _, _ = run_fit(tmp_path / "often", save_after_s=0.0)
    once, _, _ = run_fit(tmp_path / "once", save_after_s=1e9)
    for found, expected in zip(weights(often), weights(once), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, _, _ = run_fit(tmp_path / "whole")
    (tmp_path / "net.safetensors").write_bytes(b"?")
    again, _, _ = run_fit(tmp_path)
    assert "starts anew" in caplog.text
    for found, expected in zip(weights(again), weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_torch_is_left_as_it_was(tmp_path: Path) -> None:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    run_fit(tmp_path, epochs=1)
    with pytest.raises(CutError), reproducible(0, threads=2):
        raise CutError
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, strict)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 5))
def test_batches_have_every_row_once(rows: int, size: int, seed: int) -> None:
    with reproducible(seed):
        found = [part.tolist() for part in batches(np.arange(rows) * 3, size)]
    assert sorted(row for part in found for row in part) == (np.arange(rows) * 3).tolist()
    assert all(0 < len(part) <= size for part in found)


def test_a_net_is_read_as_it_was_written(tmp_path: Path) -> None:
    fit, _, _ = run_fit(tmp_path, epochs=1)
    for name in ("a", "b"):
        save_net(tmp_path / name, fit.net)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = make_fit().net
    load_net(tmp_path / "a", other)
    for found, expected in zip(other.state_dict().values(), weights(fit), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("content", [b"?", None])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "net").write_bytes(content)
    with pytest.raises(StateError, match="train again"):
        load_net(tmp_path / "net", make_fit().net)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_net(tmp_path / "net", nn.Linear(2, 2))
    with pytest.raises(StateError, match="train again"):
        load_net(tmp_path / "net", make_fit().net)
