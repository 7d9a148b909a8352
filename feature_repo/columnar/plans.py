"""What has been worked out for the requests of a process, kept until Feast or the caller holds other objects."""

from __future__ import annotations

from typing import Any

from feast import FeatureService, RepoConfig
from feast.infra.registry.base_registry import BaseRegistry

from feature_repo.columnar.layout import View
from feature_repo.columnar.request import Plan, ViewRead, request_context

_KEPT = 256


class Plans:
    """The plans of requests and the reads of single views."""

    def __init__(self) -> None:
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._reads: dict[tuple[Any, ...], ViewRead] = {}
        self._seen: Any = None

    def of_request(
        self,
        config: RepoConfig,
        registry: BaseRegistry,
        project: str,
        features: list[str] | FeatureService,
        full_names: bool,
    ) -> Plan:
        """The request's plan, made once for as long as Feast keeps its own resolution of the features."""
        context = request_context(registry, project, features, full_names)
        # Feast tells cached registries apart by id(): were the one it saw last freed, a newer one at the same address
        # would pass for it, and views would stay as they were.
        self._seen = getattr(registry, "cached_registry_proto", None)
        named = features.name if isinstance(features, FeatureService) else tuple(features)
        key = (project, named, full_names)
        plan = self._plans.get(key)
        if plan is None or plan.context is not context:
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            plan = self._plans[key] = Plan.of(context, config, full_names)
        return plan

    def of_view(self, config: RepoConfig, view: View, features: tuple[str, ...]) -> ViewRead:
        """A read of some features of one view, kept for as long as the caller has the same view object."""
        key = (config.project, id(view), features)
        read = self._reads.get(key)
        if read is None or read.view is not view:
            if len(self._reads) >= _KEPT:
                self._reads.clear()
            read = self._reads[key] = ViewRead.of(view, features, config, full_names=False)
        return read
