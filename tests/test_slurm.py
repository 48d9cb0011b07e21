"""profiles/slurm: what it asks for, and a real Slurm of one node on loopback that runs it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_pipeline import BIN, FIGURE_RULES, ROWS, checkout, configured, environment

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sacct", "sinfo")
PLACES = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=all Nodes={host} Default=YES
"""
TINY = """
title: Long enough to be killed
data: {persons: 16, seed: 0}
recipe: {start: random, epochs: 12, batch_size: 16, precision: fp32, image_size: [64, 32]}
rows: [{row: set2, setting: set2}]
"""
FAST = "--slurm-status-command squeue --slurm-init-seconds-before-status-checks 3".split()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def asked(slurm, *words):
    """What one of Slurm's commands prints."""
    command = [slurm / "bin" / words[0], *words[1:]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.stdout.strip()


def waited(what, seconds):
    """Ask until the answer is true; the last answer."""
    end = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < end:
        time.sleep(0.5)
    return answer


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The folder of a running Slurm, with its commands in bin/; stopped when the tests have run."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name, path=PLACES)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    conf = CONF.format(host=host, ports=free_ports(2), folder=folder, user=user)
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    (folder / "cgroup.conf").touch()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    (folder / "bin").mkdir()
    for name in CLIENTS:  # a job's own processes lose SLURM_CONF, so that each command sets it
        text = f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n'
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    files = [f"--{name}={folder}/{name}" for name in ("pid-file", "log-file", "seed-file")]
    commands = [
        ["munged", "-F", "-f", f"--socket={folder}/munge", f"--key-file={folder}/key", *files],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ]
    running = []
    try:
        for name, *options in commands:
            with (folder / f"{name}.txt").open("w") as log:
                running.append(
                    subprocess.Popen(
                        [shutil.which(name, path=PLACES), *options],
                        env={**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"},
                        stdout=log,
                        stderr=log,
                    )
                )
            time.sleep(1)
        if not waited(lambda: asked(folder, "sinfo", "-h", "-o", "%T") == "idle", 60):
            logs = "\n".join((folder / f"{n}.txt").read_text()[-1000:] for n in DAEMONS)
            pytest.fail(f"Slurm did not start:\n{logs}")
        yield folder
    finally:
        asked(folder, "scancel", f"--user={user}")
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def reid(folder, *words):
    command = [sys.executable, "-m", "reid_lib", *map(str, words)]
    inherited = environment(folder) | {"OMP_NUM_THREADS": "1"}  # as a job of one core has
    done = subprocess.run(
        command, cwd=folder, env=inherited, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def submitted(folder, slurm, preset, *until):
    """The recipe of `make reproduce PROFILE=profiles/slurm`, as a process that runs."""
    reid(folder, "resolve", preset)
    command = [BIN / "snakemake", "--profile", "profiles/slurm", "--nolock", *FAST]
    command += ["--config", f"preset={preset}", *until]
    inherited = environment(folder)
    inherited["PATH"] = f"{slurm / 'bin'}{os.pathsep}{inherited['PATH']}"
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            list(map(str, command)), cwd=folder, env=inherited, stdout=said, stderr=said
        )


def jobs(slurm):
    """Each job that Slurm knows: its fields by name."""
    blocks = asked(slurm, "scontrol", "show", "job").split("\n\n")
    return [dict(re.findall(r"(\S+?)=(\S*)", block)) for block in blocks if "JobId" in block]


def test_each_training_asks_for_one_card_and_one_core_whatever_the_login_node_has(tmp_path):
    folder = checkout(tmp_path / "clone")
    (folder / "results/smoke/configs").mkdir(parents=True)
    configured(folder, 0)
    command = [BIN / "snakemake", "--profile", "profiles/slurm", "--cores", "64", "--dry-run"]
    command += ["--quiet", "host", "--until", "train", "--config", "preset=smoke"]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    asks = re.findall(r"^    resources: (.*)$", said, re.MULTILINE)
    assert len(asks) == len(ROWS)
    # Without quotation marks, and without `tasks`, of which the plugin would start one per card.
    assert all(ask.endswith("gres=gpu:1") and "tasks" not in ask for ask in asks)
    assert "threads:" not in said  # one thread goes without saying


@pytest.mark.slow
def test_the_smoke_preset_runs_on_slurm_and_only_trainings_ask_for_a_card(slurm, tmp_path):
    folder = checkout(tmp_path / "clone")
    process = submitted(folder, slurm, "smoke")
    assert process.wait(1500) == 0, (folder / "said.txt").read_text()
    assert (folder / "figures/smoke/table1.md").is_file()
    assert (folder / "results/smoke/notebooks/08_open_choices.ipynb").is_file()
    ran = jobs(slurm)
    assert {job["JobState"] for job in ran} == {"COMPLETED"}
    trained = [job for job in ran if job["Comment"].startswith("rule_train")]
    assert len(trained) == len(ROWS) and len(ran) == len(ROWS) + len(FIGURE_RULES) + 1
    for job in ran:
        assert (job["NumTasks"], job["CPUs/Task"]) == ("1", "1")
        assert job.get("TresPerNode") == ("gres:gpu:1" if job in trained else None)


@pytest.mark.slow
def test_a_training_that_slurm_kills_is_submitted_again_and_ends_in_the_same_bits(slurm, tmp_path):
    folder = checkout(tmp_path / "clone")
    (folder / "tiny.yaml").write_text(TINY)
    results = folder / "reid_lib/engine/results.py"
    text = results.read_text()
    results.write_text(text.replace("CHECKPOINT_SECONDS = 30", "CHECKPOINT_SECONDS = -1"))
    assert results.read_text() != text
    process = submitted(folder, slurm, "tiny.yaml", "--until", "train")
    run = folder / "results/tiny/set2/split-0"
    assert waited((run / "checkpoint.pt").is_file, 300), (folder / "said.txt").read_text()
    first = max(int(job["JobId"]) for job in jobs(slurm))
    asked(slurm, "scancel", "--full", "--signal=KILL", first)
    assert process.wait(900) == 0, (folder / "said.txt").read_text()
    states = {int(job["JobId"]): job["JobState"] for job in jobs(slurm)}
    again = max(states)
    assert states[first] in ("FAILED", "CANCELLED") and states[again] == "COMPLETED"
    assert again == first + 1
    assert json.loads((run / "manifest.json").read_text())["resumes"] == 1
    reid(folder, "train", "tiny.yaml", "--row", "set2", "--out", tmp_path / "whole")
    for name in ("weights.safetensors", "queries.csv", "metrics.json"):
        assert (run / name).read_bytes() == (Path(tmp_path) / "whole" / name).read_bytes(), name
