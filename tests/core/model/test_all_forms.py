"""Every document of the model, whatever it holds, is the same in all forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyvisor import model
from polyvisor.errors import SpecError
from polyvisor.model.document import Document
from polyvisor.testing.strategies import elements

KINDS: list[Any] = [
    cls
    for name in model.__all__
    if isinstance(cls := getattr(model, name), type)
    and issubclass(cls, Document)
    and cls is not model.DomainSpec  # test_forms has it
]


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_survives_every_form(cls: Any, data: st.DataObject) -> None:
    """What XML can say, dict, JSON and TOML can say too, and each gives the same value back."""
    made = data.draw(elements(cls))
    try:
        xml = made.to_xml()
        value = cls.from_xml(xml)
    except SpecError:
        return  # It contradicts itself, which no form may say.
    assert cls.from_xml(value.to_xml()) == value
    assert cls.from_dict(value.to_dict()) == value
    assert cls.from_json(value.to_json()) == value
    assert cls.from_toml(value.to_toml()) == value
