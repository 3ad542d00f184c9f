"""What the commands print."""

import json

from dataset_builder.report import WIDTH, print_lost, print_statistics, say

ROW = {"index": 6, "image_id": "7.jpg", "caption": "a dog\x1b[2J barks " + "x" * 200, "status": "rejected",
       "step": "step 1", "reason": "refused", "answer": "I\ncan't", "finish_reason": "stop"}  # fmt: skip


def test_a_table_has_one_short_line_per_row(capsys):
    print_lost([ROW, {**ROW, "answer": None}], as_table=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == ["7", "step", "1", "refused"]
    assert lines[1].endswith("  I can't")
    assert all("\x1b" not in line and len(line) < 2 * WIDTH + 60 for line in lines)


def test_json_has_all_of_it(capsys):
    print_lost([ROW], as_table=False)
    assert json.loads(capsys.readouterr().out) == ROW


def test_statistics(capsys):
    print_statistics({"rows": {"done": 3, "failed": 1}, "reasons": {"step 1: status 500": 1}, "answers": 7,
                      "tokens_in": 1000, "tokens_out": 5})  # fmt: skip
    out = capsys.readouterr().out
    assert "4 rows: 3 done, 1 failed" in out
    assert " 25.0%  step 1: status 500" in out
    assert "7 answers, 1,000 tokens in, 5 out" in out
    assert "retry the failed rows" in out


def test_what_others_wrote_cannot_move_the_cursor(capsys):
    say("\x1b[2J\u202e")
    assert capsys.readouterr().out == "\\x1b[2J\\u202e\n"
