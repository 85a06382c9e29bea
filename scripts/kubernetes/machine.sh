#!/usr/bin/env bash
# A machine of the cluster: the first process of a PID, mount and host name namespace. When it ends, however it ends, the
# kernel ends everything that it started, shims and pods too, and its mounts are gone; `cluster down` rests on that.
# usage: machine.sh control|node-N STATE BINARIES ADDRESS SERVICES
set -euo pipefail

machine=$1 state=$2 binaries=$3 address=$4 services=$5
own=$state/$machine
bin=/run/drainproof/bin
etc=/run/drainproof/etc

# Its own cgroup: the one that started it may be limited, or be cleared when the terminal closes.
for procs in /sys/fs/cgroup/{,*/}drainproof/components/cgroup.procs; do
    if [ -e "$procs" ]; then echo $$ >"$procs"; fi
done

# Its own /run, /var/lib and /var/log (kept in the state directory for the curious), since containerd, runc, CNI and
# kubelet have paths there that no option moves and that two nodes cannot share.
mount --bind "$binaries" "$own/run/drainproof/bin"
mount --bind "$state/etc" "$own/run/drainproof/etc"
mount --rbind "$own/run" /run
mount --bind "$own/log" /var/log
mount --bind "$own/lib" /var/lib # last: it hides the state directory
hostname "$machine"
cd /

# Runs a component in the background, its output in its log. None is restarted: a dead one is a finding.
run() { "$@" >"/var/log/${1##*/}.log" 2>&1 & }

# Whoever knocks before the API is ready waits longer than it needs to.
await_api() { until [ -e $etc/api-is-ready ]; do sleep 0.1; done; }

control_plane() {
    # The data of etcd is worth nothing after the cluster, and it syncs every write: memory is the place for it.
    mkdir -p /var/lib/etcd
    mount -t tmpfs -o mode=700 etcd /var/lib/etcd
    run /usr/bin/etcd --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
    run $bin/kube-apiserver --etcd-servers http://127.0.0.1:2379 --advertise-address "$address" \
        --service-cluster-ip-range "$services" --authorization-mode Node,RBAC --client-ca-file $etc/ca.crt \
        --tls-cert-file $etc/kube-apiserver.crt --tls-private-key-file $etc/kube-apiserver.key \
        --kubelet-client-certificate $etc/kube-apiserver-kubelet-client.crt \
        --kubelet-client-key $etc/kube-apiserver-kubelet-client.key --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file $etc/service-account.pub \
        --service-account-signing-key-file $etc/service-account.key \
        --audit-policy-file /run/drainproof/audit.yaml --audit-log-path /var/log/audit.log
    await_api
    run $bin/kube-controller-manager --kubeconfig $etc/kube-controller-manager.kubeconfig --leader-elect=false \
        --use-service-account-credentials --service-account-private-key-file $etc/service-account.key \
        --root-ca-file $etc/ca.crt --cluster-signing-cert-file $etc/ca.crt --cluster-signing-key-file $etc/ca.key
    run $bin/kube-scheduler --kubeconfig $etc/kube-scheduler.kubeconfig --leader-elect=false
}

node() {
    run /usr/bin/containerd --config /run/drainproof/containerd.toml
    until ctr version >/dev/null 2>&1; do sleep 0.1; done
    ctr -n k8s.io images import "$etc/busybox.tar"
    await_api
    run $bin/kubelet --config /run/drainproof/kubelet.yaml --kubeconfig "$etc/$machine.kubeconfig" \
        --hostname-override "$machine" --node-ip "$address"
    run $bin/kube-proxy --config /run/drainproof/kube-proxy.yaml --hostname-override "$machine"
}

case $machine in
control) control_plane ;;
node-*) node ;;
esac
# The first process of a namespace inherits its orphans. Bash reaps them, for as long as it is here.
while :; do
    wait
    sleep 1
done
