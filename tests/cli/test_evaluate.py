import numpy as np

from nucleosynth.cli import main
from nucleosynth.data.images import write_label


def test_scores_are_columns_with_the_mean_at_the_end(tmp_path, capsys):
    label = np.zeros((30, 30), np.int32)
    label[5:15, 5:15] = 1
    half = label.copy()
    half[10:] = 0
    for name, predicted in (("whole", label), ("half", half)):
        write_label(tmp_path / "truth" / f"{name}.png", label)
        write_label(tmp_path / "found" / f"{name}.png", predicted)
    csv = tmp_path / "scores.csv"
    assert main(["evaluate", str(tmp_path / "truth"), str(tmp_path / "found"), "-o", str(csv)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["nuclei", "predicted", "dice", "dice2", "avg", "aji", "pq", "dq", "sq", "auroc"]
    half = ["half", "1", "1", "0.6667", "0.6667", "0.6667", "0.5000", "0.0000", "0.0000", "0.0000", "-"]
    mean = ["mean", "2", "2", "0.8333", "0.8333", "0.8333", "0.7500", "0.5000", "0.5000", "0.5000", "-"]
    assert rows[0].split() == half
    assert rows[-1].split() == mean
    assert len({len(row) for row in (head, *rows)}) == 1
    assert csv.read_text().splitlines()[-1] == "mean,2,2,0.8333,0.8333,0.8333,0.7500,0.5000,0.5000,0.5000,"


def test_a_missing_folder_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "nowhere"), str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"nucleosynth: error: {tmp_path / 'nowhere'}: no such folder\n"
