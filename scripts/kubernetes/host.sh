# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
# Sourced by scripts/cluster: what the cluster takes from the host and gives back: kernel settings, cgroups, processes.

# kubelet sets these for the whole machine, namespaces or not.
sysctls=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

save_sysctls() {
    local name
    for name in "${sysctls[@]}"; do echo "$name $(cat "/proc/sys/$name")"; done >"$state/sysctls"
}

restore_sysctls() {
    local name value
    [ -e "$state/sysctls" ] || return 0
    while read -r name value; do
        [ "$(cat "/proc/sys/$name")" = "$value" ] || echo "$value" >"/proc/sys/$name"
    done <"$state/sysctls"
}

# The cgroups to make in each hierarchy: one for all components, and for each node the parent of its pods.
cgroups() {
    local n
    echo drainproof
    echo drainproof/components
    for ((n = 1; n <= nodes; n++)); do echo "drainproof/node-$n"; done
}

add_cgroups() {
    local group hierarchy file
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        # Version 2 gives a child the controllers that its parent names.
        delegate /sys/fs/cgroup
        for group in $(cgroups); do mkdir "/sys/fs/cgroup/$group"; done
        delegate /sys/fs/cgroup/drainproof
        return
    fi
    for hierarchy in /sys/fs/cgroup/*; do
        # Not the controllerless version 2 hierarchy of a mixed setup.
        if [ ! -e "$hierarchy/cgroup.procs" ] || [ -e "$hierarchy/cgroup.controllers" ]; then continue; fi
        for group in $(cgroups); do
            mkdir "$hierarchy/$group"
            # A new cpuset is empty, and takes no process until it names processors and memory.
            for file in cpuset.cpus cpuset.mems; do
                if [ -e "$hierarchy/$file" ]; then cat "$hierarchy/$file" >"$hierarchy/$group/$file"; fi
            done
        done
    done
}

delegate() {
    local controllers controller
    read -ra controllers <"$1/cgroup.controllers"
    for controller in "${controllers[@]}"; do
        # One that cannot be had (a real-time process holds `cpu`) is for kubelet to complain about, if it needs it.
        echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
    done
}

# Only empty ones can go. Every process of the cluster is in one, so this also finds what an `up` that was interrupted
# had started and not yet recorded.
remove_cgroups() {
    local group
    for group in /sys/fs/cgroup/drainproof /sys/fs/cgroup/*/drainproof; do
        [ -d "$group" ] || continue
        within 10 remove_cgroup "$group" || die "cgroup $group does not go away; it holds: $(processes_in "$group")"
    done
}

processes_in() { find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -nu | tr '\n' ' '; }

remove_cgroup() {
    local pid
    for pid in $(processes_in "$1"); do kill -KILL "$pid" 2>/dev/null || true; done
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
    [ ! -d "$1" ]
}

# A process is known by its PID and its start time, for PIDs come again.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

record_process() { echo "$2 $(start_time "$2")" >"$state/pids/$1"; }

# Prints the PID that was recorded as $1, if it is still that process.
recorded_process() {
    local pid start
    [ -e "$state/pids/$1" ] || return 1
    read -r pid start <"$state/pids/$1" || return 1
    [ -n "$start" ] && [ "$(start_time "$pid")" = "$start" ] && echo "$pid"
}

gone() { ! recorded_process "$1" >/dev/null; }

children_of() { { tr ' ' '\n' <"/proc/$1/task/$1/children"; } 2>/dev/null || true; }

# Starts machine $1 in namespaces of its own and records its first process, as the host knows it.
start_machine() {
    local machine=$1 address=$2 log=$state/$1/log/machine.log outer
    local launch=(nsenter --net="/run/netns/$(namespace_of "$1")" unshare --fork --kill-child --pid --mount --uts --mount-proc
        bash "$module/machine.sh" "$machine" "$state" "$(readlink "$state/bin")" "$address" "$services")
    # Nothing of this terminal may hold it: no input, no session, no lock.
    setsid "${launch[@]}" </dev/null >"$log" 2>&1 9<&- &
    outer=$!
    within 10 has_child "$outer" || die "$machine does not start: $(cat "$log")"
    record_process "$machine" "$(children_of "$outer" | head -n 1)"
}

has_child() { [ -n "$(children_of "$1")" ]; }

# Kills the first process of a machine, and with it, by the kernel, all others; it is gone when they are.
stop_machine() {
    local pid
    pid=$(recorded_process "$1") || return 0
    kill -KILL "$pid" 2>/dev/null || true
    within 20 gone "$1" || die "$1 (PID $pid) does not end"
}

# Prints "PID NAME" of every component that runs on machine $1.
components_of() {
    local first pid name
    first=$(recorded_process "$1") || return 0
    for pid in $(children_of "$first"); do
        # The short-lived helpers of the first process may be gone by now.
        { read -r -d '' name <"/proc/$pid/cmdline"; } 2>/dev/null || continue
        case ${name##*/} in
        etcd | kube-apiserver | kube-controller-manager | kube-scheduler | containerd | kubelet | kube-proxy) echo "$pid ${name##*/}" ;;
        esac
    done
}
