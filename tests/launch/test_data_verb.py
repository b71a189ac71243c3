"""`serl data`: sets looked at, merged, split, trimmed, mended; the input stays as it was."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data.formats import made
from hypothesis import given
from hypothesis import strategies as st

from launch import data_convert
from launch.data_convert import Mend, to_three_way, to_width
from launch.data_edit import cut_out, merge, split, trim
from launch.data_fit import check_fit, differences
from launch.data_info import dead_ends, dead_steps, facts
from launch.main import main
from serl.data.demos import Episode
from serl.data.formats.native import DemoSet, open_set, write_episode
from serl.errors import SpecMismatch, UserError
from serl.types import ArraySpec, Source, Spec

CONTRACT: dict[str, Any] = {"control_hz": 10.0}


def make(folder: Path, count: int = 3, spec: Spec | None = None, **details: Any) -> DemoSet:
    """A set whose episodes have 4, 5, ... steps and end in turn by success, by time, not at all."""
    for k in range(count):
        rows, meta = made.episode(spec or made.spec(), 4 + k, made.ENDS[k % 3], k)
        told = {**meta.details, **details}
        meta = dataclasses.replace(meta, created="2026-01-01T00:00:00+00:00", details=told)
        write_episode(folder, rows, spec or made.spec(), meta)
    return open_set(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "ours").path


def records(path: Path) -> list[Any]:
    return [episode.records for episode in open_set(path)]


def said(capfd: Any, *words: object) -> tuple[int, str, str]:
    code = main(["data", *map(str, words)])
    out = capfd.readouterr()
    return code, out.out, out.err


def with_actions(actions: Any) -> Episode:
    """An episode of two-element actions: a displacement and a gripper."""
    rows, meta = made.episode(made.spec(camera=False), len(actions), "terminated", 0)
    rows["action"][1:] = actions
    return Episode(made.spec(camera=False), meta, rows)


def test_the_report_says_what_is_in_a_set(folder: Path, capfd: Any) -> None:
    code, out, _ = said(capfd, "info", folder, "--episodes")
    assert code == 0
    assert "3 episodes, 15 steps; lengths 4 to 6, median 5" in out
    assert "success: 1 of 3; terminated 1, truncated 1, open 1" in out
    assert "by A. Person 3; task pick_cube; 2026-01-01" in out
    assert "control rate: 10 Hz" in out
    assert "cameras: front 18 x 16" in out
    assert "left/state: float32 [3]: x [0.1 m], y [0.1 m], g [m]" in out
    assert re.search(r"action gripper: -?\d.* at a limit \d", out)
    assert "episode_000002.npz: 6 steps, open" in out


def test_a_damaged_episode_is_named_and_the_others_are_told_of(folder: Path, capfd: Any) -> None:
    bad = folder / "episode_000001.npz"
    bad.write_bytes(bad.read_bytes()[:100])
    code, out, _ = said(capfd, "info", folder)
    assert code == 0
    assert "2 episodes" in out
    assert "left out: " in out
    assert str(bad) in out


def test_dead_time_is_where_nothing_moves_and_the_gripper_keeps_its_command() -> None:
    episode = with_actions([[0, 1], [0.01, 1], [0.3, 1], [0, 1], [0, -1], [0.001, -1], [0, -1]])
    assert dead_steps(episode).tolist() == [True, True, False, True, False, True, True]
    found = facts(episode)
    assert (found.dead, found.dead_begin, found.dead_end) == (5, 2, 2)
    assert found.at_limit.tolist() == [0, 7]


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_dead_ends_leave_what_moves_between_them(dead: list[bool]) -> None:
    begin, end = dead_ends(np.array(dead))
    kept = dead[begin : len(dead) - end]
    assert all(dead[:begin])
    assert all(dead[len(dead) - end :])
    assert not kept or not (kept[0] or kept[-1])


def test_merged_sets_hold_every_episode_in_order(tmp_path: Path, capfd: Any) -> None:
    one, two = make(tmp_path / "one", 2), make(tmp_path / "two", 3)
    code, out, _ = said(capfd, "merge", one.path, two.path, "--into", tmp_path / "both")
    assert (code, out.strip()) == (0, f"{tmp_path / 'both'}: 5 episodes, 24 steps")
    for new, old in zip(
        records(tmp_path / "both"), [*records(one.path), *records(two.path)], strict=True
    ):
        assert new.tobytes() == old.tobytes()


def test_sets_of_two_kinds_are_not_merged(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    with pytest.raises(SpecMismatch, match="differ"):
        merge([one.path, make(tmp_path / "two", spec=made.spec(camera=False)).path], tmp_path / "b")
    with pytest.raises(UserError, match="10 Hz and 20 Hz"):
        merge([one.path, make(tmp_path / "fast", control_hz=20.0).path], tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("first", "lengths"),
    [(0.4, [[4, 5], [6, 7, 8]]), (1, [[4], [5, 6, 7, 8]]), ((4, 0), [[8, 4], [5, 6, 7]])],
)
def test_a_split_set_is_two_that_make_it_up(first: Any, lengths: Any, tmp_path: Path) -> None:
    ours, parts = make(tmp_path / "ours", 5), (tmp_path / "a", tmp_path / "b")
    split(ours.path, parts, first=first)
    assert [[h.steps for h in open_set(part).headers] for part in parts] == lengths


def test_a_shuffled_split_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    ours = make(tmp_path / "ours", 9)
    found = []
    for k, seed in enumerate((7, 7, 8)):
        split(ours.path, (tmp_path / f"a{k}", tmp_path / f"b{k}"), first=4, seed=seed)
        found.append([h.steps for h in open_set(tmp_path / f"a{k}").headers])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("first", [0.0, 1.0, 5, (9,)])
def test_a_split_that_leaves_one_side_empty_is_refused(first: Any, tmp_path: Path) -> None:
    ours = make(tmp_path / "ours", 3)
    with pytest.raises(UserError, match=r"at least one|has no episode 9"):
        split(ours.path, (tmp_path / "a", tmp_path / "b"), first=first)
    assert not (tmp_path / "a").exists()


def test_trimming_takes_dead_ends_and_leaves_the_pay(tmp_path: Path) -> None:
    still, moves = [0.0, 1.0], [0.5, 1.0]
    for end in ("terminated", "open"):
        episode = with_actions([still, still, moves, still, moves, still, still])
        rows = episode.records.copy()
        rows["terminated"][-1] = rows["success"][-1] = end == "terminated"
        write_episode(tmp_path / "ours", rows, episode.spec, episode.meta)
    (line,) = trim(tmp_path / "ours", tmp_path / "new", steps=None, still=0.02)
    assert line == "6 steps cut off."
    paid, unpaid = records(tmp_path / "new")
    old = records(tmp_path / "ours")[0]
    assert (len(paid), len(unpaid)) == (6, 4)
    assert paid["terminated"].tolist() == [False] * 5 + [True]
    assert not unpaid["terminated"].any()
    for new in (paid, unpaid):
        np.testing.assert_array_equal(new["obs/left/state"], old["obs/left/state"][2:][: len(new)])
        np.testing.assert_array_equal(new["action"][1:], old["action"][3:][: len(new) - 1])
        assert new["source"][0] == Source.NONE
        assert not new["action"][0].any()


@given(n=st.integers(1, 9), begin=st.integers(0, 8), end=st.integers(1, 9))
def test_what_is_cut_out_is_an_episode_of_neighbours(n: int, begin: int, end: int) -> None:
    """D-R1: every next observation is the next one of the same recording."""
    begin, end = min(begin, n - 1), min(max(begin + 1, end), n)
    rows, _ = made.episode(made.spec(camera=False), n, "open", 3)
    cut = cut_out(rows, begin, end)
    np.testing.assert_array_equal(cut["obs/left/state"], rows["obs/left/state"][begin : end + 1])
    np.testing.assert_array_equal(cut["action"][1:], rows["action"][begin + 1 : end + 1])
    assert cut["index"].tolist() == list(range(end - begin + 1))


def test_a_page_holds_everything_and_asks_for_nothing(folder: Path, capfd: Any) -> None:
    pytest.importorskip("PIL")
    out = folder.parent / "page.html"
    code, told, _ = said(capfd, "view", folder, "--out", out)
    page = out.read_text()
    assert (code, told.startswith(f"{out}: 3 episodes")) == (0, True)
    assert page.count("data:image/jpeg;base64,") == 3
    assert "episode_000002.npz" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|fetch\(|url\(", page)


def test_a_large_set_is_shown_with_fewer_frames(tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("PIL")
    spec = made.spec()
    camera = ArraySpec(name="front", shape=(64, 64, 3), dtype="uint8")
    spec = dataclasses.replace(spec, observation=(spec.observation[0], camera))
    rows, meta = made.episode(spec, 120, "open", 0)
    write_episode(tmp_path / "ours", rows, spec, meta)
    _, told, _ = said(capfd, "view", tmp_path / "ours", "--out", tmp_path / "p.html",
                      "--megabytes", 0.2)  # fmt: skip
    assert "every" in told
    assert (tmp_path / "p.html").stat().st_size < 0.35e6


def test_names_from_a_file_do_not_become_part_of_the_page(tmp_path: Path) -> None:
    rows, meta = made.episode(made.spec(camera=False), 3, "open", 0)
    evil = dataclasses.replace(meta, actor="</script><script>alert(1)</script>")
    write_episode(tmp_path / "ours", rows, made.spec(camera=False), evil)
    main(["data", "view", str(tmp_path / "ours"), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert page.count("</script>") == 1


def test_export_and_import_are_each_other_s_inverse(folder: Path, capfd: Any) -> None:
    there, back = folder.parent / "there.pkl", folder.parent / "back"
    code, told, _ = said(capfd, "export", folder, "--to", "serl_pickle", "--out", there)
    assert code == 0
    assert "not kept by serl_pickle: bounds, names and units of elements" in told
    code, told, _ = said(capfd, "import", there, "--into", back, "--who", "scripted")
    assert (code, f"{back}: 3 episodes, 15 steps" in told) == (0, True)
    for new, old in zip(records(back), records(folder), strict=True):
        np.testing.assert_array_equal(new["obs/left/state"], old["obs/left/state"])
        assert set(new["source"][1:]) == {Source.SCRIPTED}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["info", "nowhere"], "no demonstration set at nowhere"),
        (["export", "SET", "--to", "lerobo", "--out", "x"], "Did you mean 'lerobot'"),
        (["export", "SET", "--to", "rlds", "--video", "--out", "x"], "--video goes with"),
        (["import", "SET/nothing", "--into", "x"], "there is nothing at"),
        (["merge", "SET", "--into", "SET"], "exists already"),
        (["trim", "SET", "--steps", "9:20", "--into", "x"], "nothing of .* is left"),
        (["trim", "SET", "--steps", "a:b", "--into", "x"], "is not FROM:TO"),
        (["split", "SET", "--episodes", "x", "--into", "a", "b"], "no episode and no range"),
        (["convert", "SET", "--drop-camera", "frnt", "--into", "x"], "Did you mean 'front'"),
        (["convert", "SET", "--state", "z", "--into", "x"], "no state field named 'z'"),
        (["convert", "SET", "--resize", "front=0x4", "--into", "x"], "is not WIDTHxHEIGHT"),
        (["convert", "SET", "--gripper", "width=width", "--into", "x"], "three_way=width"),
        (["convert", "SET"], "say --into FOLDER, or an experiment"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], says: str, folder: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    code, _, err = said(capfd, *(w.replace("SET", str(folder)) for w in words))
    assert code == 2
    assert err.count("\n") == 1
    assert re.search(says, err), err
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["ours"]


def test_cameras_states_and_names_are_mended(folder: Path) -> None:
    pytest.importorskip("PIL")
    mend = Mend(
        resize={"": (8, 9)},
        rename={"front": "scene", "left/state": "state"},
        state=("g", "x"),
        drop_extras=("grasp_penalty",),
    )
    data_convert.convert(folder, folder.parent / "new", mend)
    new = open_set(folder.parent / "new")
    assert [(a.name, a.shape) for a in new.spec.observation] == [
        ("state", (2,)),
        ("scene", (8, 9, 3)),
    ]
    assert new.spec.observation[0].fields == ("g [m]", "x [0.1 m]")
    assert new.spec.extras == ()
    for rows, old in zip(records(new.path), records(folder), strict=True):
        np.testing.assert_array_equal(rows["obs/state"], old["obs/left/state"][:, [2, 0]])
        area = old["obs/front"].reshape(-1, 8, 2, 9, 2, 3).astype(float).mean((2, 4))
        np.testing.assert_allclose(rows["obs/scene"], area, atol=1)
        assert rows["stamp_wall_ns"].tobytes() == old["stamp_wall_ns"].tobytes()


def test_success_at_the_end_pays_once(folder: Path) -> None:
    data_convert.convert(folder, folder.parent / "new", Mend(success_at_end=True))
    for episode, old in zip(open_set(folder.parent / "new"), records(folder), strict=True):
        assert episode.meta.success
        assert episode.records["terminated"].tolist() == [False] * (len(old) - 1) + [True]
        assert episode.records["reward"][-1] == 1
        assert not episode.records["truncated"].any()


def test_bounds_that_the_actions_do_not_keep_are_not_adopted(tmp_path: Path) -> None:
    """An action of 3 is no displacement of ours, whatever it is called."""
    wide = changed(action=dataclasses.replace(made.ACTION, low=-4.0, high=4.0))
    rows, meta = made.episode(wide, 4, "open", 0)
    rows["action"][2, 0] = 3.0
    write_episode(tmp_path / "ours", rows, wide, meta)
    with pytest.raises(UserError, match=r"action x is 3 in the set, beyond .* -1 to 1"):
        data_convert.convert(tmp_path / "ours", tmp_path / "new", Mend(adopt=made.spec()))
    assert not (tmp_path / "new").exists()


@given(
    st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=12), st.sampled_from([-1.0, 1.0])
)
def test_a_gripper_s_width_goes_to_commands_and_back(widths: list[float], begin: float) -> None:
    commands = to_three_way(np.array(widths), begin)
    assert set(commands) <= {-1.0, 0.0, 1.0}
    assert to_width(commands, begin).tolist() == widths


def test_commands_say_what_opening_is_wanted() -> None:
    found = to_width(np.array([0, 1, 0, 0.4, -0.6, 0]), begin=-1.0)
    assert found.tolist() == [-1, 1, 1, 1, -1, -1]


def env(spec: Spec, **contract: Any) -> Any:
    return SimpleNamespace(spec=lambda: spec, contract=lambda: {**CONTRACT, **contract})


def changed(**changes: Any) -> Spec:
    return dataclasses.replace(made.spec(), **changes)


STATE, FRONT = made.STATE, made.FRONT
WIDER = dataclasses.replace(FRONT, shape=(32, 36, 3))
SIDE = dataclasses.replace(FRONT, name="side")
SHORT = dataclasses.replace(STATE, shape=(1,), fields=("y [0.1 m]",))
OTHER = dataclasses.replace(STATE, fields=("x [0.1 m]", "y [0.1 m]", "force [N]"))


@pytest.mark.parametrize(
    ("wanted", "says", "word"),
    [
        (changed(observation=(STATE,)), "camera 'front' is not in", "--drop-camera front"),
        (changed(observation=(STATE, SIDE)), "no camera 'side' but front", "--rename front=side"),
        (changed(observation=(STATE, FRONT, SIDE)), "no camera 'side' but front", None),
        (changed(observation=(STATE, WIDER)), "18 x 16, not 36 x 32", "--resize front=36x32"),
        (changed(observation=(SHORT, FRONT)), "has 'x [0.1 m]' too", "--state y"),
        (changed(observation=(OTHER, FRONT)), "has no 'force [N]'", None),
        (changed(extras=()), "extra 'grasp_penalty' is not in", "--drop-extra grasp_penalty"),
        (
            changed(
                action=dataclasses.replace(made.ACTION, shape=(3,), fields=("x", "y", "gripper"))
            ),
            "its action is (x, gripper), not (x, y, gripper)",
            None,
        ),
        (
            changed(observation=(dataclasses.replace(STATE, low=-9.0), FRONT)),
            "low: -9.0 in the experiment, None in the set",
            "--adopt",
        ),
    ],
)
def test_a_misfit_is_named_first_with_the_word_that_mends_it(
    wanted: Spec, says: str, word: str | None, tmp_path: Path
) -> None:
    ours = make(tmp_path / "ours")
    meta = ours.headers[0].meta
    text, mends = next(differences(ours.spec, meta, wanted, CONTRACT))
    assert says in text
    assert mends == word
    with pytest.raises(SpecMismatch) as raised:
        check_fit("ours", ours.spec, meta, env(wanted))
    assert (word or "record anew") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("contract", "says", "word"),
    [
        ({"control_hz": 20.0}, "recorded at 10 Hz, the experiment runs at 20 Hz", None),
        (
            {"action": {"gripper": "width", "scale_m": 0.01}},
            "commanded by three_way, not width",
            "--gripper three_way=width",
        ),
        ({"action": {"gripper": "toggle", "scale_m": 0.01}}, "by three_way, not toggle", None),
        ({"action": {"gripper": "three_way", "scale_m": 0.02}}, "scale_m: 0.02 in the exp", None),
    ],
)
def test_another_rate_or_meaning_of_actions_is_refused(
    contract: dict[str, Any], says: str, word: str | None, tmp_path: Path
) -> None:
    """The same numbers would be another motion."""
    shared = {"action": {"gripper": "three_way", "scale_m": 0.01}}
    ours = make(tmp_path / "ours", shared=shared)
    check_fit("ours", ours.spec, ours.headers[0].meta, env(ours.spec, action=shared["action"]))
    found = differences(ours.spec, ours.headers[0].meta, ours.spec, {**CONTRACT, **contract})
    text, mends = next(found)
    assert says in text
    assert mends == word


def test_the_words_that_are_named_do_mend(tmp_path: Path) -> None:
    """Following them one by one leads to a set that fits, or to one that nothing mends."""
    pytest.importorskip("PIL")
    ours = make(tmp_path / "ours")
    state = dataclasses.replace(SHORT, low=-5.0)
    wanted = env(changed(observation=(state, dataclasses.replace(WIDER, name="cam")), extras=()))
    steps = ({"resize": {"front": (32, 36)}}, {"rename": {"front": "cam"}}, {"state": ("y",)},
             {"drop_extras": ("grasp_penalty",)}, {"adopt": wanted.spec()})  # fmt: skip
    mend = Mend()
    for step in steps:
        with pytest.raises(SpecMismatch):
            data_convert.convert(ours.path, tmp_path / "new", mend, wanted)
        assert not (tmp_path / "new").exists()
        mend = dataclasses.replace(mend, **step)
    data_convert.convert(ours.path, tmp_path / "new", mend, wanted)
    assert open_set(tmp_path / "new").spec == wanted.spec()
