"""How much of a film's genres a logistic probe reads from its poster, its text, and both.

One probe a genre on standardised vectors of MovieLens 100K, five folds, each film scored by the probes that have not
seen it; genres with fewer than 50 films are left out. Two figures: the mean over genres of average precision, and the
share of films whose highest-scored genre is one of theirs. Against both stands the majority: every film gets the
genres' shares of the training films.

Usage: LARDER_REAL_DATA=<folder with movielens100k> python -m benchmarks.probe_films
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import RESULTS, machine
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content
from feature_repo.datasets.movielens import GENRES, MovieLens
from feature_repo.files import write_json
from feature_repo.settings import Settings
from feature_repo.vectors import read_vectors

REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
IMAGE, TEXT = "efficientnet_lite0", "minilm"
FOLDS = KFold(5, shuffle=True, random_state=0)
LEAST = 50  # films that a genre needs
REGULARISATION = 0.001  # scikit-learn's C, one for all inputs: there are as many numbers as films

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one input says of the genres of films that its probes have not seen."""

    vectors: str
    films: int
    genres: int
    average_precision: float
    top_genre_right: float


def read_films(settings: Settings, catalog: Catalog) -> tuple[dict[str, Matrix], Labels]:
    """Vectors by input, (films, dim), and genres, (films, genres) of 0 and 1, of every film with poster and text."""
    films: list[Content] = list(MovieLens(REAL / "movielens100k").contents())
    catalog.upsert_contents(films, "movielens")
    for name in (IMAGE, TEXT):
        run(name, settings, catalog)
    images, texts = (read_vectors(settings, catalog, name) for name in (IMAGE, TEXT))
    tags = {film.content_id: film.tags for film in films}
    both = sorted(set(images.content_ids) & set(texts.content_ids))
    genres = np.array([[genre in tags[film] for genre in GENRES] for film in both], np.int64)
    known = genres.any(1)
    rows: dict[str, Matrix] = {}
    for vectors in (images, texts):
        place = {film: row for row, film in enumerate(vectors.content_ids)}
        rows[vectors.embedding] = vectors.matrix[[place[film] for film in both]][known]
    return rows, genres[known][:, genres[known].sum(0) >= LEAST]


def measure(name: str, vectors: Matrix, genres: Labels, model: object) -> Figure:
    """Both figures of a model's scores on held-out films."""
    scores = cross_val_predict(OneVsRestClassifier(model), vectors, genres, cv=FOLDS, method="predict_proba")
    right = genres[np.arange(len(genres)), scores.argmax(1)].mean()
    return Figure(name, len(genres), genres.shape[1], average_precision_score(genres, scores), float(right))


def main() -> None:
    """Measure, print the table and write `results/probe_films.json`."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        with Catalog(settings.catalog) as catalog:
            vectors, genres = read_films(settings, catalog)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000))
    majority = DummyClassifier(strategy="prior")
    inputs = {**vectors, f"{IMAGE} and {TEXT}": np.hstack(list(vectors.values()))}
    figures = [measure("majority", vectors[TEXT], genres, majority)]
    figures += [measure(name, rows, genres, probe) for name, rows in inputs.items()]
    title = f"Genres of {len(genres)} films, {genres.shape[1]} genres, 5 folds"
    table = Table("vectors", "mean average precision", "top genre right", title=title)
    for figure in figures:
        table.add_row(figure.vectors, f"{figure.average_precision:.3f}", f"{figure.top_genre_right:.3f}")
    Console().print(table)
    write_json(RESULTS / "probe_films.json", {"machine": machine(), "figures": [asdict(f) for f in figures]})


if __name__ == "__main__":
    main()
