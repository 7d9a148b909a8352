"""Typed clients of the scoring service."""

from grpc_api.client.access import Access
from grpc_api.client.aio import AsyncScorer
from grpc_api.client.scorer import Scorer

__all__ = ["Access", "AsyncScorer", "Scorer"]
