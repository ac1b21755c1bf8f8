"""Reading a site of the plan's size."""

import pytest
from large_site import large_site

from gwanje.core.site.config import load_site

pytestmark = pytest.mark.bench


def test_a_site_of_25_000_tags_is_read(benchmark, tmp_path):
    """Budget: 1 s for 3 400 devices, 25 000 tags and 3 400 alarms."""
    root = large_site(tmp_path / "large")
    site = benchmark.pedantic(load_site, args=(root,), rounds=5, warmup_rounds=1)
    assert len(site.tags) > 25_000
