"""Vectors to a published index: read, build, measure recall, and only then rename into place and switch.

A version is named by what goes into it, so building the same again finds it and stops. The steps after the rename
are repeated by any later run, so a process killed anywhere leaves the old state or the new one, and running it again
ends in the new one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import faiss
import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import IndexVersion
from feature_repo.contracts import digest
from feature_repo.errors import QualityGateError, StateError
from feature_repo.files import digest_file, replacing, sweep, write_json
from feature_repo.settings import Settings
from feature_repo.vectors import Vectors, read_vectors
from indexers import device, recall, versions
from indexers.kinds import KINDS, Kind, Matrix, Positions, parse, unit_rows
from indexers.versions import IDS_FILE, INDEX_FILE, IndexManifest


@dataclass(frozen=True, slots=True)
class _Plan:
    """What will be indexed, and the name it gets. `unit` is (n, dim) float32, rows of length 1."""

    embedding: str
    spec_digest: str
    version: str
    kind: Kind
    content_ids: list[str]
    unit: Matrix
    skipped: int


def build(
    settings: Settings,
    catalog: Catalog,
    embedding: str,
    kind: str | Kind = "auto",
    on_stage: Callable[[str], None] | None = None,
) -> IndexManifest:
    """Index every current vector of `embedding`, after the stage `read`; see `build_of`.

    Raises StateError where nothing is embedded.
    """
    stage = on_stage or (lambda _name: None)
    stage("read")
    return build_of(settings, catalog, read_vectors(settings, catalog, embedding), kind, stage)


def build_of(
    settings: Settings,
    catalog: Catalog,
    vectors: Vectors,
    kind: str | Kind = "auto",
    stage: Callable[[str], None] = lambda _name: None,
) -> IndexManifest:
    """Index these vectors under the name of their embedding, publish the index if its recall passes, and make it
    current.

    `kind` is a config, or text for `kinds.parse`. `stage` hears each stage as it starts: `reused` (the same input was
    built before) or `build` and `recall`, then `publish`. Zero vectors are skipped and counted.

    Raises InputError where a vector holds NaN or infinity, ConfigurationError for a wrong kind, and QualityGateError
    where recall@10 is under `settings.recall_gate`; nothing changes then.
    """
    plan = _plan(vectors, kind)
    with versions.exclusive(settings, plan.embedding):
        sweep(versions.embedding_dir(settings, plan.embedding))
        manifest = _built_before(settings, plan)
        if manifest is not None:
            stage("reused")
            _gate(settings, manifest)
        else:
            manifest = _build(settings, plan, stage)
        stage("publish")
        versions.switch(settings, plan.embedding, manifest.version)
        _record(catalog, manifest)
    return manifest


def _plan(vectors: Vectors, kind: str | Kind) -> _Plan:
    unit, present = unit_rows(vectors.matrix, f"vectors of {vectors.embedding!r}", vectors.content_ids)
    ids = [c for c, there in zip(vectors.content_ids, present, strict=True) if there]
    config = parse(kind, len(ids)) if isinstance(kind, str) else kind.sized(len(ids))
    return _Plan(
        embedding=vectors.embedding,
        spec_digest=vectors.spec_digest,
        version=_version(vectors, config),
        kind=config,
        content_ids=ids,
        unit=unit if present.all() else unit[present],
        skipped=len(present) - len(ids),
    )


def _version(vectors: Vectors, kind: Kind) -> str:
    """16 hex digits that name an index by all that decides its answers."""
    rows = np.ascontiguousarray(vectors.matrix).reshape(-1)
    return digest(
        vectors.embedding,
        vectors.spec_digest,
        kind.name,
        json.dumps(kind.params, sort_keys=True),
        digest(*vectors.content_ids),
        hashlib.blake2b(rows.view(np.uint8).data, digest_size=16).digest(),
        size=8,
    )


def _built_before(settings: Settings, plan: _Plan) -> IndexManifest | None:
    """The manifest of this very version, or None; a damaged folder is none and makes way."""
    folder = versions.version_dir(settings, plan.embedding, plan.version)
    if not folder.exists():
        return None
    try:
        return versions.read_manifest(folder)
    except StateError:
        shutil.rmtree(folder)
        return None


def _build(settings: Settings, plan: _Plan, stage: Callable[[str], None]) -> IndexManifest:
    """Build, measure, and rename the finished folder into place."""
    stage("build")
    index = device.build(plan.kind, plan.unit, settings.device)
    stage("recall")
    sample = recall.sample_positions(len(plan.unit), recall.SAMPLE, settings.seed)
    measured = _measure(settings, plan, index, sample)
    manifest = IndexManifest(
        embedding=plan.embedding,
        spec_digest=plan.spec_digest,
        version=plan.version,
        kind=plan.kind.name,
        params=plan.kind.params,
        metric="cosine",
        dim=plan.unit.shape[1],
        count=len(plan.unit),
        skipped=plan.skipped,
        recall=measured,
        recall_k=recall.K,
        recall_sample=len(sample),
        seed=settings.seed,
        faiss=faiss.__version__,
        files={},
    )
    _gate(settings, manifest)
    return _write(settings, plan, index, manifest)


def _measure(settings: Settings, plan: _Plan, index: Any, sample: Positions) -> float:
    """Recall@10 of `index` as it will be searched."""
    if not len(sample):
        return 1.0
    k = min(recall.K + 1, len(plan.unit))
    _, found = device.Searcher(plan.kind, index, settings.device).search(plan.unit[sample], k)
    return recall.recall_at_k(plan.unit, sample, found, recall.K)


def _gate(settings: Settings, manifest: IndexManifest) -> None:
    if manifest.recall >= settings.recall_gate:
        return
    what = f"{manifest.kind} index {dict(manifest.params)} of {manifest.embedding!r}"
    raise QualityGateError(
        f"recall@{manifest.recall_k} of the {what} is {manifest.recall:.4f}, under the gate {settings.recall_gate}, "
        f"so it is not published: {KINDS[manifest.kind].mend}; or use --kind exact; or lower LARDER_RECALL_GATE"
    )


def _write(settings: Settings, plan: _Plan, index: Any, manifest: IndexManifest) -> IndexManifest:
    folder = versions.version_dir(settings, plan.embedding, plan.version)
    with replacing(folder) as beside:
        beside.mkdir()
        faiss.write_index(index, str(beside / INDEX_FILE))
        write_json(beside / IDS_FILE, plan.content_ids)
        files = {name: digest_file(beside / name) for name in (INDEX_FILE, IDS_FILE)}
        manifest = replace(manifest, files=files)
        versions.write_manifest(beside, manifest)
    return manifest


def _record(catalog: Catalog, manifest: IndexManifest) -> None:
    """Enter the version in the catalog once, with the time of its first publication."""
    if any(row.version == manifest.version for row in catalog.index_versions(manifest.embedding)):
        return
    catalog.record_index(
        IndexVersion(
            embedding=manifest.embedding,
            version=manifest.version,
            kind=manifest.kind,
            count=manifest.count,
            recall=manifest.recall,
            created_at=datetime.now(UTC),
        )
    )
