import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from feature_repo.columns import Columns
from feature_repo.errors import ConfigurationError, StateError
from predictors.engagement import Examples
from predictors.evaluation.engagement_metrics import r2
from predictors.fusion.config import FusionConfig
from predictors.fusion.fit import fit_fusion
from predictors.fusion.net import FusionNet
from predictors.fusion.predictor import Fusion
from predictors.recipes import Fitted
from predictors.splits import Splits
from predictors.tracking import LocalRun
from tests.predictors.planted import DIM, SPEC, Planted, plant

TOKENS, TOKEN_DIM = 3, 6
QUICK = FusionConfig(
    members=2, epochs=25, patience=25, learning_rate=0.01, dropout=0.1, modality_dropout=0.1, batch=32, resamples=5,
    width=8, hidden=32, heads=2, bins=4, components=4, token_components=6,
)  # fmt: skip


def with_tokens(planted: Planted, weight: float = 1.0) -> Examples:
    """A second embedding `txt` beside `vec`, random but for its tokens: half of the score follows their mean."""
    rng = np.random.default_rng(1)
    rows = len(planted.content_ids)
    tokens = rng.normal(size=(rows, TOKENS, TOKEN_DIM)).astype(np.float32)
    text = rng.normal(size=(rows, DIM)).astype(np.float32)
    absent = np.arange(rows) % 10 == 6
    tokens[absent], text[absent] = np.nan, np.nan
    scores = planted.scores + weight * 3.0 * np.nan_to_num(tokens[:, :, 0]).mean(axis=1)
    given = planted.examples()
    given.columns.values.update(txt=text, txt_tokens=tokens.reshape(rows, -1))
    digests = {SPEC.name: SPEC.digest, "txt": "other"}
    return Examples(given.columns, given.contents, scores, given.splits, digests, {"txt": TOKENS})


@pytest.fixture(scope="module")
def examples(planted: Planted) -> Examples:
    return with_tokens(planted)


def fit(examples: Examples, folder: Path, config: FusionConfig = QUICK) -> Fitted:
    return fit_fusion(examples, config, LocalRun("v", folder))


@pytest.fixture(scope="module")
def fitted(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(examples, tmp_path_factory.mktemp("run"))


@pytest.fixture
def fusion(fitted: Fitted) -> Fusion:
    assert isinstance(fitted.predictor, Fusion)
    return fitted.predictor


def saved(fitted: Fitted, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    fitted.predictor.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_scores_have_the_shapes_they_are_said_to_have(examples: Examples, fusion: Fusion) -> None:
    scores = fusion.score(examples.columns.take(range(7)))
    assert (scores.score.shape, scores.probabilities.shape) == ((7,), (7, 5))
    assert scores.score.dtype == scores.probabilities.dtype == np.float64
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1.0)
    assert scores.classes.tolist() == scores.probabilities.argmax(axis=1).tolist()
    assert fusion.modalities == ("facts", "txt", "vec")
    assert scores.details["gates"].shape == (7, 3)
    np.testing.assert_allclose(scores.details["gates"].sum(axis=1), 1.0)


def test_no_rows_have_no_scores(examples: Examples, fusion: Fusion) -> None:
    scores = fusion.score(examples.columns.take([]))
    assert (scores.score.shape, scores.probabilities.shape, scores.classes.shape) == ((0,), (0, 5), (0,))
    assert scores.details["gates"].shape == (0, 3)


def test_a_row_scores_the_same_alone_and_in_a_batch(examples: Examples, fusion: Fusion) -> None:
    whole = fusion.score(examples.columns)
    for row in range(0, 240, 24):
        alone = fusion.score(examples.columns.take([row]))
        np.testing.assert_allclose(alone.score[0], whole.score[row], atol=1e-5)
        np.testing.assert_allclose(alone.probabilities[0], whole.probabilities[row], atol=1e-5)
        np.testing.assert_allclose(alone.details["gates"][0], whole.details["gates"][row], atol=1e-5)


def test_what_a_row_lacks_has_no_say(examples: Examples, fusion: Fusion) -> None:
    rows = np.flatnonzero(np.isfinite(examples.columns.vectors("txt")).all(axis=1))[:5]
    columns = examples.columns.take(rows)
    columns.vectors("txt")[:] = np.nan  # its tokens are there, but without a vector they are not known
    blind = fusion.score(columns)
    columns.vectors("txt_tokens")[:] = np.nan
    without = fusion.score(columns)
    np.testing.assert_array_equal(blind.score, without.score)
    assert np.isfinite(without.score).all()
    assert without.details["gates"][:, 1].tolist() == [0.0] * 5
    columns.vectors("vec")[:] = np.nan
    np.testing.assert_array_equal(fusion.score(columns).details["gates"], [[1.0, 0.0, 0.0]] * 5)


def test_an_answer_without_any_vector_is_scored(examples: Examples, fusion: Fusion) -> None:
    frame = pl.DataFrame({"vec": pl.Series([None], dtype=pl.List(pl.Float32))})
    one = examples.columns.take([0])
    one.values.update(vec=Columns.from_frame(frame).vectors("vec"))
    assert fusion.score(one).details["gates"][0, 2] == 0.0


def test_another_length_is_refused(examples: Examples, fusion: Fusion) -> None:
    one = examples.columns.take([0])
    for name in ("vec", "txt_tokens"):
        other = dataclasses.replace(one, values={**one.values, name: np.zeros((1, 7), np.float32)})
        with pytest.raises(StateError, match="train again"):
            fusion.score(other)


def test_it_learns_and_reads_the_tokens(examples: Examples, fitted: Fitted, tmp_path: Path) -> None:
    held_out = examples.columns.take(examples.splits.test)
    truth = examples.scores[examples.splits.test]
    without = fit(dataclasses.replace(examples, tokens={}), tmp_path)
    assert "txt_tokens" not in without.predictor.features
    read = r2(truth, fitted.predictor.score(held_out).score)
    assert read > 0.6
    assert read > r2(truth, without.predictor.score(held_out).score) + 0.1


def test_the_manifest_is_told_what_the_gates_are_of(fitted: Fitted) -> None:
    assert fitted.facts["modalities"] == ["facts", "txt", "vec"]
    assert sum(fitted.facts["gates"].values()) == pytest.approx(1.0)
    assert set(fitted.rivals) == {"ridge", "concatenation"}
    assert {rival.features for rival in fitted.rivals.values()} == {fitted.predictor.features}


def test_curves_are_those_of_the_nets_alone(examples: Examples, tmp_path: Path) -> None:
    run = LocalRun("v", tmp_path)
    fit_fusion(examples, dataclasses.replace(QUICK, epochs=2), run)
    assert set(run.curves) == {f"net{net}.{metric}" for net in (0, 1) for metric in ("loss", "r2")}
    assert len(run.curves["net0.r2"]["valid"]) == 2


def test_a_planted_leak_is_not_read(planted: Planted, fitted: Fitted, tmp_path: Path) -> None:
    leaky = with_tokens(planted)
    for name in ("views", "content_views", "label"):
        leaky.columns.values[name] = leaky.scores.copy()
    other = fit(leaky, tmp_path)
    assert other.predictor.features == fitted.predictor.features
    np.testing.assert_array_equal(
        other.predictor.score(leaky.columns).score, fitted.predictor.score(leaky.columns).score
    )


def test_the_test_rows_decide_nothing(fitted: Fitted, tmp_path: Path) -> None:
    other = with_tokens(plant())
    test = other.splits.test
    other.scores[test] = 99.0
    for name in ("vec", "txt", "txt_tokens"):
        other.columns.vectors(name)[test] = 7.0
    other.columns.numbers("duration_s")[test] = 1e6
    other.columns.objects("language")[test] = "xx"
    assert saved(fit(other, tmp_path / "run"), tmp_path / "a") == saved(fitted, tmp_path / "b")


def test_training_again_gives_the_same_bytes(examples: Examples, fitted: Fitted, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    assert saved(fit(examples, tmp_path / "run"), tmp_path / "a") == saved(fitted, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_is_loaded_as_it_was_saved(examples: Examples, fusion: Fusion, fitted: Fitted, tmp_path: Path) -> None:
    saved(fitted, tmp_path / "v1")
    state = torch.get_rng_state()
    loaded = Fusion.load(tmp_path / "v1")
    assert torch.equal(torch.get_rng_state(), state)
    expected, found = (model.score(examples.columns) for model in (fusion, loaded))
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.details["gates"], expected.details["gates"])
    assert (loaded.version, loaded.features, loaded.embeddings) == ("v1", fusion.features, fusion.embeddings)
    assert saved(dataclasses.replace(fitted, predictor=loaded), tmp_path / "a") == saved(fitted, tmp_path / "b")


@pytest.mark.parametrize("name", ["fusion.json", "encoder.json", "encoder.npz", "net1.safetensors"])
def test_a_damaged_model_is_refused(fitted: Fitted, tmp_path: Path, name: str) -> None:
    saved(fitted, tmp_path / "v1")
    (tmp_path / "v1" / name).write_bytes(b"?")
    with pytest.raises(StateError, match="train again"):
        Fusion.load(tmp_path / "v1")


def test_torch_is_left_as_it_was(examples: Examples, fusion: Fusion) -> None:
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist()
    fusion.score(examples.columns.take([0]))
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist()) == before


def test_too_few_contents_cannot_be_learnt_from(examples: Examples, tmp_path: Path) -> None:
    rows = np.arange(29)
    with pytest.raises(StateError, match="29 labelled contents"):
        fit(dataclasses.replace(examples, splits=Splits(rows, rows[:1], rows[:1])), tmp_path)


def test_a_vector_that_few_have_is_left_out(planted: Planted, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sparse = with_tokens(planted)
    sparse.columns.vectors("txt")[29:] = np.nan
    made = fit(sparse, tmp_path, dataclasses.replace(QUICK, epochs=1))
    assert isinstance(made.predictor, Fusion)
    assert made.predictor.modalities == ("facts", "vec")
    assert "txt is left out" in caplog.text


def test_the_start_itself_can_be_the_best(planted: Planted, tmp_path: Path) -> None:
    examples = planted.examples()
    made = fit(examples, tmp_path, dataclasses.replace(QUICK, epochs=1)).predictor
    assert isinstance(made, Fusion)
    for net in made.ensemble.nets:
        assert isinstance(net, FusionNet)
        assert not net.gate.weight.any()  # nothing was learnt on the way
        assert not net.added.weight[1:].any()
    test = examples.splits.test
    assert r2(examples.scores[test], made.score(examples.columns.take(test)).score) > 0.5


def test_creators_earlier_contents_are_read(planted: Planted, tmp_path: Path) -> None:
    made = planted.examples()
    maker = np.random.default_rng(2).integers(0, 6, len(made.scores))
    made.scores[:] += np.linspace(-3, 3, 6)[maker]
    made.columns.values["content_creator"] = np.array([f"studio {name}" for name in maker], object)
    start = dataclasses.replace(QUICK, epochs=1)
    knows = fit(made, tmp_path / "knows", start).predictor
    saved_as = saved(Fitted(knows), tmp_path / "v1")
    assert {"content_creator", "content_id"} <= set(knows.features)
    assert saved_as.keys() == {"encoder.json", "encoder.npz", "fusion.json", "net0.safetensors", "net1.safetensors"}

    rows, truth = made.columns.take(made.splits.test), made.scores[made.splits.test]
    told = knows.score(rows).score
    np.testing.assert_array_equal(Fusion.load(tmp_path / "v1").score(rows).score, told)
    rows.values["content_creator"] = np.full(rows.rows, None)
    assert r2(truth, told) > r2(truth, knows.score(rows).score) + 0.2


def options() -> Iterator[dict[str, float]]:
    yield {"width": 10, "heads": 4}
    yield {"dropout": 1.0}
    yield {"huber_share": -0.1}
    yield {"learning_rate": 0.0}
    yield {"members": 0}
    yield {"folds": 1}


@pytest.mark.parametrize("wrong", list(options()))
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        FusionConfig(**wrong)  # type: ignore[arg-type]
