# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
# Sourced by scripts/cluster: one certificate authority, a certificate for everyone, and their kubeconfigs.

# Writes $etc/$1.crt and $1.key for subject $2, fit for what the extensions $3 say.
issue() {
    local name=$1 subject=$2 extensions=$3
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" -keyout "$etc/$name.key" 2>/dev/null |
        openssl x509 -req -CA "$etc/ca.crt" -CAkey "$etc/ca.key" -CAcreateserial -days 365 -sha256 \
            -extfile <(printf '%s\n' "$extensions") -out "$etc/$name.crt" 2>/dev/null
}

# A client, known by its certificate, and its kubeconfig with everything inline.
add_client() {
    local name=$1 subject=$2
    issue "$name" "$subject" extendedKeyUsage=clientAuth
    cat >"$etc/$name.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
  - name: drainproof
    cluster: {server: "https://$control_address:6443", certificate-authority-data: $(base64 -w0 "$etc/ca.crt")}
users:
  - name: $name
    user: {client-certificate-data: $(base64 -w0 "$etc/$name.crt"), client-key-data: $(base64 -w0 "$etc/$name.key")}
contexts:
  - name: drainproof
    context: {cluster: drainproof, user: $name}
current-context: drainproof
END
}

add_identities() {
    local n
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -sha256 -subj /CN=drainproof-ca \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$etc/ca.key" -out "$etc/ca.crt" 2>/dev/null
    issue kube-apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=IP:$control_address,IP:$kubernetes_service,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    issue kube-apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client extendedKeyUsage=clientAuth
    add_client admin /O=system:masters/CN=admin
    add_client kube-controller-manager /CN=system:kube-controller-manager
    add_client kube-scheduler /CN=system:kube-scheduler
    add_client kube-proxy /CN=system:kube-proxy
    for ((n = 1; n <= nodes; n++)); do add_client "node-$n" "/O=system:nodes/CN=system:node:node-$n"; done
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$etc/service-account.key" 2>/dev/null
    openssl pkey -in "$etc/service-account.key" -pubout -out "$etc/service-account.pub"
}
