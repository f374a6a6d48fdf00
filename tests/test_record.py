import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nucleosynth import record
from nucleosynth.errors import InputError


@dataclass(frozen=True)
class Inner:
    limit: float = 0.5


@dataclass(frozen=True)
class Settings:
    size: int = 64
    folder: Path = Path("a")
    pair: tuple[int, int] = (1, 2)
    inner: Inner = field(default_factory=Inner)


def test_a_record_says_all_that_is_needed_to_repeat_the_run(tmp_path):
    (tmp_path / "in.txt").write_text("abc")
    run = record.run_record("tiles", Settings(), [tmp_path / "in.txt"])
    record.write_record(tmp_path / "run.json", run)
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["settings"] == {"size": 64, "folder": "a", "pair": [1, 2], "inner": {"limit": 0.5}}
    assert written["inputs"][0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert {"nucleosynth", "python", "numpy", "torch", "monai", "openslide-python"} <= set(written["versions"])
    assert written["started"] <= written["finished"]
    assert written["started"].endswith("+00:00")


def test_a_large_file_is_identified_by_its_size_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "_WHOLE_LIMIT", 100)
    monkeypatch.setattr(record, "_END_BYTES", 10)
    path = tmp_path / "slide"
    digests = []
    for content in (b"a" * 200, b"a" * 100 + b"b" + b"a" * 99, b"a" * 199 + b"b", b"a" * 201):
        path.write_bytes(content)
        digests.append(record.input_digest(path)["sha256_of_size_and_ends"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_folder_is_identified_by_all_its_files(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"1")
    before = record.input_digest(tmp_path)
    (tmp_path / "b.dcm").write_bytes(b"2")
    after = record.input_digest(tmp_path)
    assert (before["bytes"], after["bytes"]) == (1, 2)
    assert before["sha256"] != after["sha256"]


def test_a_folder_holds_one_run(tmp_path):
    run = record.run_record("tiles", Settings(), [])
    record.claim_output(tmp_path / "out", run, ["tiles"])
    (tmp_path / "out" / "tiles").mkdir()
    record.claim_output(tmp_path / "out", run, ["tiles"])  # The interrupted run continues.
    record.finish_output(tmp_path / "out", run)
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["run.json"]
    other = record.run_record("tiles", Settings(size=65), [])
    with pytest.raises(InputError, match="another run \\(size was 64, now 65\\)"):
        record.claim_output(tmp_path / "out", other, ["tiles"])
    record.claim_output(tmp_path / "out", run, ["tiles"])  # The same run again.


def test_products_without_a_record_are_not_overwritten(tmp_path):
    (tmp_path / "tiles").mkdir()
    with pytest.raises(InputError, match="tiles: in the way"):
        record.claim_output(tmp_path, record.run_record("tiles", Settings(), []), ["tiles"])


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="must be a folder"):
        record.claim_output(tmp_path / "out", record.run_record("tiles", Settings(), []), ["tiles"])


def test_a_foreign_run_json_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not a run record"):
        record.claim_output(tmp_path, record.run_record("tiles", Settings(), []), ["tiles"])


def test_changed_inputs_and_versions_are_another_run(tmp_path, monkeypatch):
    (tmp_path / "in").write_text("abc")
    record.claim_output(tmp_path / "out", record.run_record("tiles", Settings(), [tmp_path / "in"]), [])
    (tmp_path / "in").write_text("abd")
    with pytest.raises(InputError, match="the inputs were others"):
        record.claim_output(tmp_path / "out", record.run_record("tiles", Settings(), [tmp_path / "in"]), [])
