"""A platform without a screen, and the fake city beside the tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

from gwanje.core.config import load_site

HERE = Path(__file__).resolve().parent


def _fake_city():
    name = "gwanje_tests_hmi_fake_city"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "fake_city.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def fake():
    return _fake_city()


@pytest.fixture(scope="session")
def application(fake):
    return fake.application(offscreen=True)


@pytest.fixture(scope="session")
def site(fake):
    return load_site(fake.SITE)


@pytest.fixture
def screen(fake, application, site):
    built = fake.build(site=site)
    yield built
    built.view.close()
    built.view.deleteLater()
    application.sendPostedEvents(None, 52)  # DeferredDelete
