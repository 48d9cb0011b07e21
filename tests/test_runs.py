"""Files are whole or absent, and an unfinished run is not taken for a finished one."""

import pytest

from reid_lib.engine.files import write_file, write_json, write_text
from reid_lib.engine.runs import FILES, RESULTS, read_run


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(aside):
        aside.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_file(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_that_others_could_not_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", [*FILES, *RESULTS])
def test_a_run_without_one_of_its_files_is_not_finished(tmp_path, missing):
    for name in (*FILES, *RESULTS):
        if name != missing:
            (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=f"contains no completed run: {missing} missing"):
        read_run(tmp_path)


def test_a_failed_run_needs_no_scores_and_no_codes(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text('{"failed": "why"}')
    assert read_run(tmp_path).failed == "why"
