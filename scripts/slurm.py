#!/usr/bin/env python3
"""A Slurm cluster of one node on this machine, for tests: starts and stops munged, slurmctld and slurmd.

    python3 scripts/slurm.py start FOLDER      writes a configuration there and starts the daemons; prints what to export
    python3 scripts/slurm.py restart FOLDER    ends slurmctld, and starts it again from what it has saved
    python3 scripts/slurm.py stop FOLDER       ends them

Needs Debian's `slurm-wlm` and `munge`, and root: slurmd starts jobs as who submits them. Everything lies in FOLDER; a Slurm that this
machine may have is left alone. Processes are followed by their place in the process table (`proctrack/linuxproc`), and no cgroups are
used, so it runs in a container. Memory is counted out among jobs, but not watched.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIGURATION = """\
ClusterName=votive
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={port_of_node}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=5
MinJobAge=60
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=60
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=1:00:00 DefaultTime=10 State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def environment(folder):
    return {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}


def run(*command, folder):
    result = subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {result.stdout}{result.stderr}")
    return result.stdout


def pid_of(path):
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def end(path, by=signal.SIGTERM):
    """Ends the daemon of this pid file, and waits until it is gone."""
    pid = pid_of(path)
    if pid is None:
        return
    try:
        os.kill(pid, by)
        for _ in range(300):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    path.unlink(missing_ok=True)


def wait_for_node(folder):
    for _ in range(300):
        answer = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment(folder), capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.split()[:1] in (["idle"], ["mixed"], ["allocated"]):
            return
        time.sleep(0.1)
    sys.exit(f"the node does not come up: {answer.stdout}{answer.stderr}\n{(folder / 'slurmd.log').read_text()[-2000:]}")


def start(folder, cpus):
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not find(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)} (apt-get install slurm-wlm munge)")
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # munged refuses folders that others may write to.
    folder.chmod(0o755)
    (folder / "munge").chmod(0o711)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    port, port_of_node = free_ports(2)
    memory = max(1024, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10)
    conf = CONFIGURATION.format(host=host, folder=folder, port=port, port_of_node=port_of_node, cpus=cpus, memory=memory)
    (folder / "slurm.conf").write_text(conf)
    munge = [f"--{name}={folder}/munge/{file}" for name, file in
             [("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed")]]
    run(find("munged"), "--force", *munge, folder=folder)
    run(find("slurmctld"), folder=folder)
    run(find("slurmd"), "-N", host, folder=folder)
    wait_for_node(folder)


def restart(folder):
    end(folder / "slurmctld.pid")
    run(find("slurmctld"), folder=folder)


def stop(folder):
    subprocess.run(["scancel", "--signal=KILL", "--state=RUNNING"], env=environment(folder), capture_output=True, timeout=60)
    for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
        end(folder / name)


def find(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["start", "restart", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpus", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.command == "start":
        start(folder, arguments.cpus)
        print(f"export SLURM_CONF={folder}/slurm.conf")
    elif arguments.command == "restart":
        restart(folder)
    else:
        stop(folder)


if __name__ == "__main__":
    main()
