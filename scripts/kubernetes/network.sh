# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
# Sourced by scripts/cluster: who has which address, and the network namespaces.
#
# The control plane's namespace holds a bridge; the host and every node hang on it by a veth pair. Everything is in
# 198.18.0.0/15, the range for benchmarks, which is routed nowhere. Connecting to a Service looks a route up before
# kube-proxy's rules rewrite the address, so there is a default route; it leads into a bridge without ports, and whatever
# is for neither a node, a pod, nor a Service ends there. The host gets one address and the routes to these ranges, and
# no firewall rules.

host_address=198.18.0.1
control_address=198.18.0.10
services=198.19.0.0/16
kubernetes_service=198.19.0.1
dns_service=198.19.0.10
host_link=drainproof0
node_address() { echo "198.18.0.$((10 + $1))"; }
# Together they are kube-proxy's clusterCIDR, 198.18.128.0/17.
node_pods() { echo "198.18.$((128 + $1)).0/24"; }

# The machines: one for the control plane, and the nodes.
machines() {
    local n
    echo control
    for ((n = 1; n <= nodes; n++)); do echo "node-$n"; done
}

namespace_of() { echo "drainproof-$1"; }

# Runs a command in the network of machine $1. Not by `ip netns exec`: that mounts another /sys, in which kubelet finds
# no cgroups.
in_network() {
    local machine=$1
    shift
    nsenter --net="/run/netns/$(namespace_of "$machine")" -- "$@"
}

# The routes to every node's pods but those of machine $1 itself. Services are wherever kube-proxy is: from outside the
# nodes, the first one answers for them.
add_routes() {
    local machine=$1 n
    shift
    for ((n = 1; n <= nodes; n++)); do
        [ "$machine" = "node-$n" ] || "$@" ip route add "$(node_pods "$n")" via "$(node_address "$n")"
    done
    [[ $machine == node-* ]] || "$@" ip route add "$services" via "$(node_address 1)"
}

add_dead_end() {
    local machine=$1 address=$2
    in_network "$machine" ip link set lo up
    in_network "$machine" ip link add deadend type bridge
    in_network "$machine" ip link set deadend up
    in_network "$machine" ip route add default dev deadend src "$address"
}

add_control_network() {
    local name
    name=$(namespace_of control)
    ip netns add "$name"
    in_network control ip link add nodes type bridge
    in_network control ip address add "$control_address/24" dev nodes
    in_network control ip link set nodes up
    add_dead_end control "$control_address"
    ip link add "$host_link" type veth peer name host netns "$name"
    in_network control ip link set host master nodes up
    ip address add "$host_address/24" dev "$host_link"
    ip link set "$host_link" up
}

add_node_network() {
    local node=node-$1 name each
    name=$(namespace_of "$node")
    ip netns add "$name"
    ip link add "$node" netns "$(namespace_of control)" type veth peer name eth0 netns "$name"
    in_network control ip link set "$node" master nodes up
    in_network "$node" ip address add "$(node_address "$1")/24" dev eth0
    in_network "$node" ip link set eth0 up
    add_dead_end "$node" "$(node_address "$1")"
    # There is no DNS: let a lookup be refused at once, rather than time out. Resolvers shrug at "unreachable".
    in_network "$node" ip address add "$dns_service/32" dev lo
    in_network "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    # A node that forwards the host's packet to another node would advise the host to go there directly, and the host
    # would do so in the middle of a connection that only this node translates.
    for each in all default eth0; do
        in_network "$node" sh -c "echo 0 >/proc/sys/net/ipv4/conf/$each/send_redirects"
    done
}

add_networks() {
    local n
    add_control_network
    for ((n = 1; n <= nodes; n++)); do add_node_network "$n"; done
    for ((n = 1; n <= nodes; n++)); do add_routes "node-$n" in_network "node-$n"; done
    add_routes control in_network control
    add_routes host
}

# Removes what there is, found by name, so that a half-made network goes too. The links go with their namespaces, and the
# host's routes with its link.
remove_networks() {
    local name
    if ip link show "$host_link" >/dev/null 2>&1; then ip link delete "$host_link"; fi
    for name in $(ip netns list | awk '/^drainproof-(control|node-[0-9]+)( |$)/ {print $1}'); do
        ip netns delete "$name"
    done
    # `ip netns` mounts this folder on itself when it makes its first namespace, and leaves it so after the last.
    if mountpoint -q /run/netns && [ -z "$(ls -A /run/netns)" ]; then umount /run/netns && rmdir /run/netns; fi
}
