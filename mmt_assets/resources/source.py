"""Where the source data comes from."""

from datetime import date
from pathlib import Path

import dagster as dg

from mmt_assets import sample


class SourceResource(dg.ConfigurableResource):
    """A directory of source files or a BigQuery dataset; the sample world's is brought up to date before it is read.

    Attributes:
        path: The directory, or `bigquery:project.dataset`.
        is_sample: Whether the built-in sample world writes it.
    """

    path: str
    is_sample: bool = False

    def location(self, *, first_day: date, last_day: date) -> str:
        """Place that holds the source up to the end of `last_day`."""
        if self.is_sample:
            sample.write_source(Path(self.path), first_day=first_day, last_day=last_day)
        return self.path
