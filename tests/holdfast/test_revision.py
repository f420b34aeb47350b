from holdfast.revision import commit


def test_the_commit_is_that_of_the_repository_and_unknown_outside_of_one(tmp_path) -> None:
    assert commit(tmp_path) == "unknown"
    head, _, changes = commit().partition("+")
    assert head == "unknown" or len(head) == 40
    assert changes in {"", "changes"}
