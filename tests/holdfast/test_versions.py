from hypothesis import given
from hypothesis import strategies as st

from holdfast.versions import counted_up, is_version_name, natural


@given(st.text("ab09.-", min_size=1, max_size=8).map("v{}1".format) | st.text("ab-", min_size=1, max_size=8).map("v{}".format))
def test_the_next_version_is_a_newer_one(name):
    assert natural(counted_up(name)) > natural(name)
    assert is_version_name(counted_up(name)) == is_version_name(counted_up(counted_up(name)))


def test_the_last_number_is_counted_up_and_keeps_its_zeros():
    names = {"v9": "v10", "v09": "v10", "2026-11-30": "2026-11-31", "digits": "digits-2", "a1b": "a2b"}
    assert {name: counted_up(name) for name in names} == names
