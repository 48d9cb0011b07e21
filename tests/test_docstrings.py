"""The examples in the docstrings run, and show what they say."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import reid_lib
from reid_lib import metrics


def modules_with_examples() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages(reid_lib.__path__, "reid_lib.")]
    paths = {name: Path(importlib.util.find_spec(name).origin) for name in names}
    return [name for name, path in paths.items() if ">>>" in path.read_text("utf-8")]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_what_they_show(name):
    module = importlib.import_module(name)
    found = doctest.testmod(
        module, extraglobs={"np": np, "torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize("name", metrics.__all__)
def test_all_that_scoring_offers_is_documented_with_an_example(name):
    part = getattr(metrics, name)
    docs = [part.__doc__] + [getattr(part, member).__doc__ or "" for member in vars(part)] * (
        isinstance(part, type)
    )
    text = "\n".join(docs)
    assert "Args:" in text and ">>>" in text
