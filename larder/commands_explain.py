"""The command that says why a content scored as it did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.errors import ConfigurationError, MediaError, NotFoundError, StateError
from larder.session import Json, workspace

if TYPE_CHECKING:
    from feature_repo.catalog_rows import CatalogItem
    from feature_repo.columns import Columns
    from larder.display import Display
    from larder.steps import Workspace
    from predictors.base import Predictor
    from predictors.explanation.explain import Explanation

_ASKED = ("content_id", "user_id", "event_timestamp")  # columns that are the question, not the answer


def explain(
    name: Annotated[str, typer.Argument(help="Which predictor.", metavar="PREDICTOR")],
    content_id: Annotated[str, typer.Argument(help="Which content.")],
    user: Annotated[str | None, typer.Option(help="For whom, where the predictor takes a user.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for maps over the content's picture.")] = None,
    top: Annotated[int, typer.Option(help="Features shown.", min=1)] = 12,
    as_json: Json = False,
) -> None:
    """Say what each feature and each modality added to a content's score.

    Trees: SHAP values, which sum to the score. Nets: integrated gradients, which do within the residual that is shown.
    Scores of interest are explained in log-odds.

    With `--out` also where in the picture the predictor looks: Grad-CAM, and attention where the net has any; each as
    PNG and as numbers.

    Example: `larder explain popularity 50 --out why`
    """
    with workspace() as space:
        from larder.display import print_json
        from predictors.base import load_predictor
        from predictors.explanation.explain import explain as run

        item = space.catalog.get([content_id]).get(content_id)
        if item is None:
            raise NotFoundError(f"no content {content_id!r}: `larder status` says how many there are")
        predictor = load_predictor(space.settings, name)
        with space.display.stages(f"explain {name}"):
            explanation = run(predictor, _features(space, predictor, content_id, user))
            pictures = [] if out is None else _pictures(space, predictor, explanation, item, out)
        if as_json:
            asked = {"predictor": name, "version": predictor.version, "content_id": content_id, "user_id": user}
            print_json({**asked, **explanation.to_json(0), "pictures": pictures})
        else:
            _show(space.display, f"{name} {predictor.version}: {item.content.title or content_id}", explanation, top)
            for path in pictures:
                space.display.note(f"picture: {path}")


def _features(space: Workspace, predictor: Predictor, content_id: str, user: str | None) -> Columns:
    """The content's features as they are online. Raises ConfigurationError for a user too many or too few, StateError
    where they are not there or their vectors are not those that the predictor was trained on.
    """
    registered = space.catalog.embeddings()
    for name, digest in predictor.embeddings.items():
        if name not in registered or registered[name].spec_digest != digest:
            raise StateError(
                f"{predictor.name} was trained on {name} of spec {digest}, which is not in use: "
                f"run `larder train {predictor.name}`"
            )
    columns = space.store.read(predictor.service, [content_id], user)
    takes_user = "user_id" in columns.values
    if takes_user and user is None:
        raise ConfigurationError(f"{predictor.name} scores contents for a user: name one with --user")
    if user is not None and not takes_user:
        raise ConfigurationError(f"{predictor.name} takes no user: leave --user out")
    if not any(present.any() for name, present in columns.present.items() if name not in _ASKED):
        raise StateError(f"content {content_id!r} has no features online: run `larder materialize`")
    return columns


def _pictures(
    space: Workspace, predictor: Predictor, explanation: Explanation, item: CatalogItem, out: Path
) -> list[Path]:
    """Maps over the content's picture, written into the folder. Raises MediaError for a content without one."""
    from predictors.explanation.pictures import picture_maps, write_pictures

    try:
        maps = picture_maps(space.settings, predictor, explanation, 0, item)
    except MediaError as error:
        raise MediaError(f"content {item.content.content_id!r}: {error}; leave --out out") from error
    return write_pictures(maps, out, item.content.content_id)


def _show(display: Display, title: str, explanation: Explanation, top: int) -> None:
    """What the score is made of, then the features and the modalities that made it."""
    facts = {
        explanation.scale: float(explanation.total[0]),
        "begins at": float(explanation.base[0]),
        "method": explanation.method,
        "residual": float(explanation.residual[0]),
    }
    display.facts(title, facts)
    rows = [(feature.name, feature.modality, value) for feature, value in explanation.top(0, top)]
    display.table("what features added", ("feature", "modality", "added"), rows)
    sums = {name: float(values[0]) for name, values in explanation.by_modality.items()}
    ordered = sorted(sums, key=lambda name: -abs(sums[name]))
    display.table("what modalities added", ("modality", "added"), [(name, sums[name]) for name in ordered])
    if explanation.gates:
        display.table(
            "gates", ("of", "weight"), [(name, float(values[0])) for name, values in explanation.gates.items()]
        )
