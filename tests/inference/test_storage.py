"""Shared storage: what is wrong with it is told as the caller's kind of error, without the secrets of a URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.manifest import BundleError
from inference.common.errors import MonokuError
from inference.common.storage import shown, storage, told

SECRETS = st.text("abcXYZ0189:/#+=!$%-_", min_size=1, max_size=20).map(lambda middle: f"Se{middle}cret")
NAMES = st.text("abcdefgh", min_size=1, max_size=8)


@given(NAMES, SECRETS, NAMES, st.sampled_from(["s3", "gs", "hf", "abfs", "https"]), st.sampled_from(["", "reading "]))
def test_a_login_in_a_url_is_never_shown(user: str, secret: str, bucket: str, scheme: str, before: str) -> None:
    assert secret not in shown(f"{before}{scheme}://{user}:{secret}@{bucket}/models")


@given(NAMES, SECRETS)
def test_what_was_signed_for_a_url_is_never_shown(bucket: str, secret: str) -> None:
    assert secret not in shown(f"https://{bucket}.example/models/support?signature={secret} cannot be read")


@given(NAMES, NAMES)
def test_a_url_without_secrets_is_shown_as_it_is(bucket: str, name: str) -> None:
    assert shown(f"s3://{bucket}/models/{name}") == f"s3://{bucket}/models/{name}"


@pytest.mark.parametrize("kind", [ValueError, BundleError])
def test_an_unknown_storage_is_the_callers_kind_of_error_without_its_secrets(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="nowhere://bucket/models cannot be opened") as told_of:
        storage("nowhere://user:hunter2@bucket/models", kind)
    assert "hunter2" not in str(told_of.value)


def test_our_own_errors_are_left_as_they_are() -> None:
    with pytest.raises(MonokuError, match=r"^ours$"), told("s3://bucket", "read"):
        raise MonokuError("ours")
