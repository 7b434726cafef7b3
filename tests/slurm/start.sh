#!/usr/bin/env bash
# Starts a real Slurm on this one machine, with two pretended GPUs, for the tests. Root only.
# The configuration goes to /etc/slurm: Snakemake's executor does not hand SLURM_CONF on.
# Nothing is touched where a Slurm answers already.
set -euo pipefail

if timeout 10 sinfo --noheader >/dev/null 2>&1; then
  echo "a Slurm answers already"
  exit 0
fi
if [[ $(id -u) -ne 0 ]]; then
  echo "starting Slurm needs root" >&2
  exit 1
fi

host=$(hostname -s)
# more cores than there are, so that jobs of one wave run side by side, as on a cluster
cores=$(($(nproc) * 4))
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
state=/var/lib/slurm-tests
install -d -m 755 /etc/slurm /run/slurm "$state/ctld" "$state/d"
install -d -m 755 -o munge -g munge /run/munge /var/log/munge

[[ -s /etc/munge/munge.key ]] || { head -c 1024 /dev/urandom > /etc/munge/munge.key; }
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
pgrep -x munged >/dev/null || runuser -u munge -- munged
for _ in $(seq 50); do munge -n >/dev/null 2>&1 && break; sleep 0.1; done

cat > /etc/slurm/slurm.conf <<CONF
ClusterName=onemachine
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=200000
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
cat > /etc/slurm/gres.conf <<CONF
NodeName=$host Name=gpu File=/dev/null
NodeName=$host Name=gpu File=/dev/zero
CONF
cat > /etc/slurm/cgroup.conf <<CONF
CgroupAutomount=no
CONF

slurmctld
for _ in $(seq 100); do timeout 5 sinfo --noheader >/dev/null 2>&1 && break; sleep 0.2; done
slurmd
for _ in $(seq 100); do
  if sinfo --noheader -o %T | grep -q -x -E 'idle|mixed|allocated'; then
    sinfo
    exit 0
  fi
  scontrol update nodename="$host" state=resume 2>/dev/null || true
  sleep 0.3
done
echo "Slurm did not come up; its logs:" >&2
tail -n 20 "$state"/*.log >&2
exit 1
