import base64
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError, InputError, StateError
from feature_repo.settings import Settings
from predictors.report.evidence import of_comparison, of_published
from predictors.report.write import write
from predictors.train import TrainReport
from tests.predictors.report.conftest import Compared

VOID = {"meta", "img", "br"}
HEADINGS = ("What was held out", "The comparison", "Learning curves", "Calibration", "What they lean on")
MORE = ("Without a modality", "The largest errors", "Cost")


class Page(HTMLParser):
    """A page's ids, links, headings and texts; elements that are not closed are kept in `open`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [said["id"]] if "id" in said else []
        self.links += [said[name] for name in ("href", "src", "xlink:href") if name in said]
        self.pictures += [said["src"]] if tag == "img" else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(compared: Compared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison's report."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write(of_comparison(compared.folder), compared.settings, compared.catalog, path)
    return path


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text())


def test_a_comparison_becomes_a_page_with_every_section(page: Page) -> None:
    assert not page.open
    assert page.headings[:2] == ["Abstract", "Data"]
    assert Counter(page.headings) == {
        **dict.fromkeys(("Abstract", "Data", "Engagement", "Interest", "Confusion"), 1),
        **dict.fromkeys((*HEADINGS, *MORE), 2),
    }


def test_it_needs_nothing_beside_it(page: Page, written: Path) -> None:
    assert page.links
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import|<script", written.read_text())


def test_it_is_the_same_every_time(written: Path, compared: Compared, tmp_path: Path) -> None:
    write(of_comparison(compared.folder), compared.settings, compared.catalog, tmp_path / "again.html")
    assert written.read_bytes() == (tmp_path / "again.html").read_bytes()


def test_it_says_what_was_measured(page: Page, compared: Compared) -> None:
    tasks = json.loads((compared.folder / "comparison.json").read_text())["tasks"]
    r2 = tasks["engagement"]["models"]["popularity"]["estimates"]["r2"]
    assert f"popularity has the best R²: {r2['value']:.3f} [{r2['low']:.3f}, {r2['high']:.3f}]" in page.text
    assert re.search(r"above that of popularity-metadata_only \(95.% interval .*?: more than the draw", page.text)
    assert "popularity is better than mean" in page.text
    for task in tasks.values():
        for model in task["models"].values():
            assert all(f"{found['value']:.3f}" in page.text for found in model["estimates"].values())
    assert "240 contents" in page.text
    assert "120 120 50.0 %" in page.text  # pictures, and contents without


def test_errors_are_shown_with_their_pictures_and_titles(page: Page) -> None:
    assert "Film &lt;" in page.text
    assert "no picture" in page.text
    assert re.search(r"said 0\.\d\d, did not engage user u0", page.text)
    for picture in page.pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
            assert image.size == (112, 112)


def test_published_predictors_tell_what_their_manifests_know(
    report: TrainReport, settings: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    write(of_published(settings), settings, catalog, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert f"popularity has the best R²: {report.manifest['metrics']['r2']:.3f} [" in page.text
    assert "the two were not compared row by row" in page.text
    assert page.text.count("larder evaluate keeps them") == 3
    assert "SHAP values on validation rows" in page.text


def test_what_is_not_there_is_refused_by_name(settings: Settings, catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no predictor is trained yet: run `larder train`"):
        of_published(settings)
    with pytest.raises(InputError, match=r"holds no comparison\.json"):
        of_comparison(tmp_path)
    (tmp_path / "comparison.json").write_text('{"tasks": {"engagement": {}}, "seeds": [0]}')
    with pytest.raises(StateError, match="cannot be read"):
        of_comparison(tmp_path)


def test_a_negative_price_is_refused(compared: Compared, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="price of a CPU-hour must not be negative"):
        write(of_comparison(compared.folder), compared.settings, compared.catalog, tmp_path / "report.html", price=-1)
    assert not (tmp_path / "report.html").exists()


def test_predictions_that_were_lost_are_named(compared: Compared, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(compared.folder, folder)
    (folder / "popularity" / "seed-0" / "popularity" / "engagement.parquet").write_text("no table")
    with pytest.raises(StateError, match="seed-0: predictions cannot be read"):
        of_comparison(folder)
