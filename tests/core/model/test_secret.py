"""Secrets, as those who import the model meet them."""

from __future__ import annotations

import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import SecretSpec
from polyvisor.model.secret import SecretUsage


def test_a_secret_in_one_line() -> None:
    """Whether it is kept and shown is always said, as libvirt does."""
    secret = SecretSpec(usage=SecretUsage(type="ceph", name="client.admin"))
    assert secret.usage is not None
    assert secret.usage.id == "client.admin"
    assert secret.to_xml().startswith("<secret ephemeral='no' private='no'>\n")
    assert SecretSpec.from_xml(secret.to_xml()) == secret
    assert SecretSpec.from_xml("<secret><usage type='none'/></secret>").usage is not None


def test_what_is_not_for_its_type_is_no_part_of_the_definition() -> None:
    """It is carried along, and dropped where libvirt drops it."""
    xml = "<secret><usage type='tls'><name>a</name><volume>/b</volume></usage></secret>"
    secret = SecretSpec.from_xml(xml)
    assert "<volume>/b</volume>" in secret.to_xml()
    assert secret.definition().usage == SecretUsage(type="tls", name="a")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<secret ephemeral='maybe'/>", "attribute ephemeral: 'maybe' is not yes or no"),
        ("<secret><uuid>1</uuid></secret>", "secret/uuid: '1' is not a UUID"),
        ("<secret><usage/></secret>", "secret/usage: has no attribute type"),
        ("<secret><usage type='cehp'/></secret>", "did you mean 'ceph'"),
        ("<secret>\n<usage type='volume'/></secret>", "line 2: secret/usage: .* has no <volume>"),
        ("<secret><usage type='iscsi'><name>a</name></usage></secret>", "has no <target>"),
        ("<sceret/>", "a secret starts with <secret>"),
    ],
)
def test_secrets_that_libvirt_refuses(xml: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        SecretSpec.from_xml(xml)
