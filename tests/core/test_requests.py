"""Refusals as people read them."""

import pytest

from gwanje.core.requests import Code, in_each, refusal


@pytest.mark.parametrize(
    ("detail", "ko", "en"),
    [
        ("계측값이 낡음 / values are too old", "계측값이 낡음", "values are too old"),
        ("ess1 / ess2", "ess1 / ess2", "ess1 / ess2"),
        ("진천 / 음성", "진천 / 음성", "진천 / 음성"),
        ("role is viewer", "role is viewer", "role is viewer"),
    ],
)
def test_a_detail_that_says_it_twice_is_told_once_in_each_language(detail, ko, en):
    assert in_each(detail) == (ko, en)
    said = refusal(Code.OWNER, detail)
    assert said["text_ko"].endswith(f"({ko})")
    assert said["text_en"].endswith(f"({en})")
    assert said["detail"] == detail
