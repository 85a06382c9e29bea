//! The API server as every pod finds it: its address in the environment, its certificate and a token in a mounted volume
//! (`InClusterConfig` of the official clients looks there too).

use std::{env, fs, io, path::Path, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem, pem::PemObject},
    },
};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why it cannot be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiServerError {
    #[error("{0} is not set: this is no pod")]
    NotAPod(&'static str),
    #[error("{MOUNT}/{file}: {source}; the pod needs automountServiceAccountToken")]
    Mount { file: &'static str, source: io::Error },
    #[error("{MOUNT}/ca.crt: {0}")]
    Certificate(#[from] pem::Error),
    #[error("its name: {0}")]
    Name(#[from] InvalidDnsNameError),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("failed to connect: {0}")]
    Connect(#[source] io::Error),
}

/// A connection to it, and what is asked there.
pub(crate) struct ApiServer {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) authority: String,
    /// The pod's own service account.
    pub(crate) path: String,
    pub(crate) token: String,
}

/// Connects anew. All is read each time: a token is replaced before it ends.
///
/// # Errors
/// See [`ApiServerError`].
pub(crate) async fn connect() -> Result<ApiServer, ApiServerError> {
    let variable = |name| env::var(name).map_err(|_| ApiServerError::NotAPod(name));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let (token, namespace) = (mounted("token")?, mounted("namespace")?);
    let connector = connector(&Path::new(MOUNT).join("ca.crt"))?;
    let name = ServerName::try_from(host.clone())?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let tcp = TcpStream::connect(&authority).await.map_err(ApiServerError::Connect)?;
    let stream = connector.connect(name, tcp).await.map_err(ApiServerError::Connect)?;
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    Ok(ApiServer { stream, authority, path, token })
}

fn mounted(file: &'static str) -> Result<String, ApiServerError> {
    let read = fs::read_to_string(Path::new(MOUNT).join(file));
    read.map(|text| text.trim().to_owned()).map_err(|source| ApiServerError::Mount { file, source })
}

fn connector(ca: &Path) -> Result<TlsConnector, ApiServerError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
