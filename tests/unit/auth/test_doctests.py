"""The examples in the docstrings of the package hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import fnrunner.auth

MODULES = [module.name for module in pkgutil.iter_modules(fnrunner.auth.__path__, "fnrunner.auth.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
