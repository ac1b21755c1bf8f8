"""A platform without a screen, and the fake city beside the tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _beside(stem):
    """A module of this folder, loaded once; the tests' import mode makes no package of it."""
    name = f"gwanje_tests_hmi_{stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{stem}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_beside("fake_core")  # fake_city imports it


@pytest.fixture(scope="session")
def fake():
    return _beside("fake_city")


@pytest.fixture(scope="session")
def fake_core():
    return _beside("fake_core")


@pytest.fixture(scope="session")
def application(fake):
    return fake.application(offscreen=True)


@pytest.fixture(scope="session")
def site(fake):
    return fake.default_site()


@pytest.fixture
def screen(fake, application, site):
    built = fake.build(site=site)
    yield built
    built.view.close()
    built.view.deleteLater()
    application.sendPostedEvents(None, 52)  # DeferredDelete
