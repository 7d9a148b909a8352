"""Self-contained HTML pages from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from feature_repo.files import replacing


def write_page(template: Path, path: Path, **shown: Any) -> None:
    """Fill a template in and write the page to `path`, whole or not at all; the same values give the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= shown  # macros see them too
    html = environment.get_template(template.name).render()
    with replacing(path.absolute()) as beside:
        beside.write_text(html)
