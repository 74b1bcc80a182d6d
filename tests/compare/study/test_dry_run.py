"""What `bart-tf optimizers --dry-run` says before anything runs, half way, and at the end."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml

from bart_bridge.tools import versions
from compare.console import duration
from tests.compare.conftest import bart_tf, bart_tf_in_process
from tests.compare.study.conftest import TINY, TWO_EACH

STEP = re.compile(r"\s+(?P<cells>.+?)  \[(?P<number>\d+)/(?P<count>\d+)\] (?P<title>[^:]+: [^:]+)(?:: (?P<notes>.*))?")
KERAS, OPEN = "on keras-tensorflow", ", settings not chosen yet"
CHOOSING = "choosing the settings, seed 0 on keras-tensorflow"
NO_ADMM = "not trained: varnet-admm on bart: algorithm: reconet has no ADMM for weights"


@pytest.fixture
def copy(interrupted, tmp_path):
    """A copy of the interrupted study."""
    return shutil.copytree(interrupted, tmp_path / "reports" / "tiny")


def dry_run(out, content=TWO_EACH, *options):
    """Return what a dry run of a study says: its lines, and the parts of each line of a step by heading and title."""
    config = out.parent.parent / "study.yaml"
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    said = bart_tf_in_process("optimizers", config, "-o", out, "--dry-run", *options)
    assert said.returncode == 0, said.stderr
    lines, steps, heading = said.stdout.splitlines(), {}, ""
    for line in lines[1:]:
        if step := STEP.fullmatch(line):
            steps[heading, step["title"]] = step
        elif line.endswith(":"):
            heading = line.removesuffix(":")
    assert [int(step["number"]) for step in steps.values()] == list(range(1, len(steps) + 1))
    assert {int(step["count"]) for step in steps.values()} == {len(steps)}
    return lines, steps


def files(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def record(study, part, name, phase="train"):
    return json.loads((study / part / "runs" / name / f"{phase}.json").read_text())


def test_a_new_study_lists_every_part_and_writes_nothing(tmp_path):
    (tmp_path / "reports").mkdir()
    before = files(tmp_path / "reports")
    lines, steps = dry_run(tmp_path / "reports" / "new", TWO_EACH)
    expected = [
        (CHOOSING, f"varnet-{name}-{number} {KERAS}: train 3 epochs")
        for name in ("adam", "ipalm", "admm")
        for number in (0, 1)
    ]
    for seed in (0, 1, 2):
        for engine, names in {"bart": ["adam", "ipalm"], "keras-tensorflow": ["adam", "ipalm", "admm"]}.items():
            is_tuning = seed == 0 and engine != "bart"
            heading = f"seed {seed} on {engine}{', trained above' if is_tuning else ''}"
            for name in names:
                for what in ["reconstruct"] if is_tuning else ["train 3 epochs", "reconstruct"]:
                    expected.append((heading, f"varnet-{name} on {engine}: {what}{OPEN}"))
    assert list(steps) == expected
    assert {step["cells"].split()[0] for step in steps.values()} == {"unknown"}
    assert lines[-5:] == [
        "unknown without a reason: no earlier run has done this step",
        "settings not chosen yet: a run takes the best candidate when all are trained; time and memory are the largest "
        "of those that may be chosen",
        NO_ADMM,
        "33 steps: 0 done, 33 to do",
        "time: unknown",
    ]
    assert files(tmp_path / "reports") == before


def test_the_settings_of_a_single_candidate_are_known(tmp_path):
    lines, steps = dry_run(tmp_path / "reports" / "new", yaml.safe_load(TINY), "--quiet")
    assert len(steps) == 30
    assert not any("not chosen" in line for line in lines)
    assert ("seed 0 on keras-tensorflow, trained above", f"varnet-admm-0 {KERAS}: reconstruct") in steps


def test_what_a_bart_refuses_of_some_candidates_is_said(tmp_path, toolbox):
    grid = [{"learning_rate": 1.0}, {"learning_rate": 1.0, "ipalm": {"increase": 3.0}}]
    lines, steps = dry_run(tmp_path / "reports" / "new", TWO_EACH | {"optimizers": {"ipalm": grid}})
    notes = [line for line in lines if line.startswith("not trained with some candidates: varnet-ipalm on bart: ")]
    assert len(notes) == (0 if toolbox.has(versions.NAMED_IPALM) else 1)
    assert ("seed 0 on bart", f"varnet-ipalm on bart: train 3 epochs{OPEN}") in steps


def test_half_way_the_real_choices_are_used_and_nothing_changes(copy):
    before = files(copy.parent)
    lines, steps = dry_run(copy)
    assert files(copy.parent) == before
    best = {"adam": 0}  # the other one diverged
    for name in ("ipalm", "admm"):
        runs = [copy / f"tuning/runs/varnet-{name}-{number}-keras-tensorflow" for number in (0, 1)]
        best[name] = int(np.argmin([np.load(run / "history.npz")["stage1_nmse mag"][-1, -1] for run in runs]))
    assert not any("not chosen" in line for line in lines)
    diverged = steps[CHOOSING, f"varnet-adam-1 {KERAS}: train 3 epochs"]["notes"]
    assert re.fullmatch(r"diverged at update \d: .*; a run does not try again", diverged)
    done = {key for key, step in steps.items() if step["cells"].strip() == "done"}
    assert {heading for heading, _ in done} == {CHOOSING, "seed 0 on bart"}
    assert len(done) == 10
    for name, number in best.items():
        run = f"varnet-{name}-{number}-keras-tensorflow"
        assert ("seed 0 on keras-tensorflow, trained above", f"varnet-{name}-{number} {KERAS}: reconstruct") in steps
        step = steps["seed 2 on keras-tensorflow", f"varnet-{name} {KERAS}: train 3 epochs"]
        used = record(copy, "tuning", run)
        assert step["notes"] == f"as in tiny/tuning/runs/{run}/train"
        gib = used["measurement"]["peak_rss_bytes"] / 2**30
        assert re.split(r"\s{2,}", step["cells"]) == [duration(used["step_s"]), f"{gib:.2f} GiB"]
    # One sum: 10 trainings of two more seeds with as many reconstructions, three of the first seed. Keras has
    # reconstructed nothing yet, which leaves 9 unknown.
    trainings = [record(copy, "tuning", f"varnet-{name}-{best[name]}-keras-tensorflow") for name in best]
    bart = [record(copy, "seed0-bart", f"varnet-{name}-bart") for name in ("adam", "ipalm")]
    bart += [record(copy, "seed0-bart", "varnet-adam-bart", "apply")] * 2
    seconds = 2 * sum(each["step_s"] for each in [*trainings, *bart])
    assert lines[-4:-2] == [NO_ADMM, "33 steps: 10 done, 23 to do"]
    assert lines[-2] == f"time: {duration(seconds)} without the report, for 14 steps; for 9 it is unknown"


def test_a_candidate_that_diverged_leaves_the_choice_to_the_others(copy):
    runs = copy / "tuning/runs"
    third = shutil.copytree(runs / "varnet-adam-0-keras-tensorflow", runs / "varnet-adam-2-keras-tensorflow")
    done = json.loads((third / "train.json").read_text())
    done["determinants"]["training"]["learning_rate"] = 0.02
    (third / "train.json").write_text(json.dumps(done))
    grid = [*TWO_EACH["optimizers"]["adam"], {"learning_rate": 0.02}]
    lines, steps = dry_run(copy, TWO_EACH | {"optimizers": {"adam": grid}})
    assert steps[CHOOSING, f"varnet-adam-2 {KERAS}: train 3 epochs"]["cells"].strip() == "done"
    assert not any("not chosen" in line for line in lines)
    assert ("seed 0 on keras-tensorflow, trained above", f"varnet-adam-0 {KERAS}: reconstruct") in steps


def test_a_seed_that_diverged_is_over_and_reconstructs_nothing(copy):
    diverged = copy / "seed1-keras-tensorflow/runs/varnet-adam-keras-tensorflow"
    shutil.copytree(copy / "tuning/runs/varnet-adam-1-keras-tensorflow", diverged)
    failure = json.loads((diverged / "train-failed.json").read_text())
    failure["determinants"]["seed"] = 1
    failure["determinants"]["training"]["learning_rate"] = 0.01
    (diverged / "train-failed.json").write_text(json.dumps(failure))
    _, steps = dry_run(copy)
    of_seed = {title: step for (heading, title), step in steps.items() if heading == "seed 1 on keras-tensorflow"}
    assert of_seed[f"varnet-adam {KERAS}: train 3 epochs"]["notes"].endswith("; a run does not try again")
    assert f"varnet-adam {KERAS}: reconstruct" not in of_seed
    assert len(of_seed) == 5


def test_what_is_not_chosen_yet_is_estimated_from_another_candidate(copy):
    for name in ("adam-1", "ipalm-1", "admm-0"):
        shutil.rmtree(copy / f"tuning/runs/varnet-{name}-keras-tensorflow")
    shutil.rmtree(copy / "seed0-bart")
    lines, steps = dry_run(copy)

    def seed_1(name, engine="keras-tensorflow"):
        step = steps["seed 1 on " + engine, f"varnet-{name} on {engine}: train 3 epochs{OPEN}"]
        return *re.split(r"\s{2,}", step["cells"]), step["notes"]

    def of_candidate(name):
        used = record(copy, "tuning", f"varnet-{name}-keras-tensorflow")
        memory = f"{used['measurement']['peak_rss_bytes'] / 2**30:.2f} GiB"
        return duration(used["step_s"]), memory, f"as in tiny/tuning/runs/varnet-{name}-keras-tensorflow/train"

    assert seed_1("adam") == of_candidate("adam-0")
    time, memory, origin = of_candidate("admm-1")
    assert seed_1("admm") == (time, memory, f"{origin} with another learning_rate, admm_rho")
    _, memory, origin = of_candidate("ipalm-0")
    origin += " with another learning_rate, on which the time of iPALM depends"
    assert seed_1("ipalm") == ("unknown", memory, origin)
    assert seed_1("adam", "bart") == ("unknown", "unknown", None)
    assert "unknown without a reason: no earlier run has done this step" in lines
    assert any(line.startswith("settings not chosen yet: ") for line in lines)


def test_candidates_of_several_lengths_count_as_the_longest(copy):
    longer = [{"learning_rate": 0.01}, {"learning_rate": 0.02, "epochs": 3000}]
    _, steps = dry_run(copy, TWO_EACH | {"optimizers": {"adam": longer}})
    step = steps["seed 1 on keras-tensorflow", f"varnet-adam {KERAS}: train 3 epochs or train 3000 epochs{OPEN}"]
    used = record(copy, "tuning", "varnet-adam-0-keras-tensorflow")
    assert used["step_s"] + 2997 * used["seconds"]["epoch"] > 20
    minutes = re.match(r"([\d.]+) (s|min)", step["cells"])
    seconds = float(minutes[1]) * {"s": 1, "min": 60}[minutes[2]]
    assert seconds == pytest.approx(used["step_s"] + 2997 * used["seconds"]["epoch"], rel=0.05)


def test_results_of_an_earlier_choice_may_be_those_of_the_next_one(copy):
    grid = [*TWO_EACH["optimizers"]["adam"], {"learning_rate": 0.02}]
    _, steps = dry_run(copy, TWO_EACH | {"optimizers": {"adam": grid}})
    for phase in ("train 3 epochs", "reconstruct"):
        notes = steps["seed 0 on bart", f"varnet-adam on bart: {phase}{OPEN}"]["notes"]
        assert notes.startswith("done if the settings of before are chosen; as in tiny/seed0-bart/")


def test_a_study_beside_it_tells_times_also_for_other_phantoms(copy):
    other = TWO_EACH["dataset"]["simulate"] | {"seed": 4}
    _, steps = dry_run(copy.parent / "other", TWO_EACH | {"dataset": {"simulate": other}})
    step = steps["seed 1 on bart", f"varnet-adam on bart: train 3 epochs{OPEN}"]
    assert step["notes"] == "as in tiny/seed0-bart/runs/varnet-adam-bart/train"
    step = steps[CHOOSING, f"varnet-ipalm-1 {KERAS}: train 3 epochs"]
    assert step["notes"] == "as in tiny/tuning/runs/varnet-ipalm-1-keras-tensorflow/train"
    assert not (copy.parent / "other").exists()


@pytest.mark.parametrize(
    ("block", "change", "state"),
    [
        (("networks", "varnet"), {"filters": 4}, "again: network.filters changed from 3 to 4"),
        (("dataset", "simulate"), {"size": 32}, "again: its dataset is simulated anew"),
    ],
)
def test_a_folder_with_another_study_says_what_is_done_again(copy, block, change, state):
    outer, inner = block
    lines, steps = dry_run(copy, TWO_EACH | {outer: {inner: TWO_EACH[outer][inner] | change}})
    step = steps[CHOOSING, f"varnet-ipalm-0 {KERAS}: train 3 epochs"]
    assert step["cells"].split() == ["unknown", "unknown"]
    assert step["notes"].startswith(f"{state}; in tiny/tuning/runs/varnet-ipalm-0-keras-tensorflow/train with other ")
    assert lines[-2:] == ["33 steps: 0 done, 33 to do", "time: unknown"]


def test_without_a_finite_candidate_nothing_more_is_trained(copy):
    runs = copy / "tuning/runs"
    shutil.rmtree(runs / "varnet-adam-0-keras-tensorflow")
    (runs / "varnet-adam-1-keras-tensorflow").rename(runs / "varnet-adam-0-keras-tensorflow")
    lines, steps = dry_run(copy, TWO_EACH | {"optimizers": {"adam": [{"learning_rate": 1e20}]}})
    ((_, title),) = steps
    assert title == f"varnet-adam-0 {KERAS}: train 3 epochs"
    assert lines[-2:] == [
        "not trained: varnet-adam: no candidate ends with a finite error; choose smaller steps",
        "1 step: 1 done, 0 to do",
    ]


def test_a_folder_of_other_people_is_refused(tmp_path):
    (tmp_path / "study.yaml").write_text(TINY)
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").touch()
    said = bart_tf_in_process("optimizers", tmp_path / "study.yaml", "-o", out, "--dry-run")
    assert said.returncode == 2
    assert said.stderr == f"error: {out}: a report would replace index.html, and there is no study.yaml\n"


@pytest.mark.slow
def test_a_run_does_what_a_dry_run_lists(copy):
    def records():
        return {str(path.relative_to(copy)) for path in copy.glob("*/runs/*/*.json") if path.stem in ("train", "apply")}

    before = records()
    _, steps = dry_run(copy)
    listed = set()
    for (heading, title), step in steps.items():
        name, engine, what = re.fullmatch(r"(\S+) on (\S+): (\w+).*", title).groups()
        is_tuning = heading.startswith("choosing") or heading.endswith("trained above")
        part = "tuning" if is_tuning else f"seed{heading.split()[1]}-{engine}"
        if step["cells"].strip() != "done":
            listed.add(f"{part}/runs/{name}-{engine}/{'train' if what == 'train' else 'apply'}.json")
    finished = bart_tf("optimizers", copy.parent.parent / "study.yaml", "-o", copy)
    assert finished.returncode == 0, finished.stderr
    assert records() - before == listed
    lines, _ = dry_run(copy)
    assert lines[-1] == "33 steps: 33 done, 0 to do"
