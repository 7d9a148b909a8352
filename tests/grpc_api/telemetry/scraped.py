"""What a server's `/metrics` says."""

from __future__ import annotations

from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """The samples of one look, by name and labels."""

    def __init__(self, port: int | None) -> None:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            text = page.read().decode()
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value; 0 where there is no such sample."""
        return self._samples.get((name, frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of every sample of that name."""
        return [dict(labels) for found, labels in self._samples if found == name]
