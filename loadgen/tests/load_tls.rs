//! `loadgen load` on an `https://` URL: a server and a TLS library that are not ours.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Scratch, has_python, loadgen};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

/// Python's own server over OpenSSL: its certificate's file is its argument; the first line it prints is its port.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(certificate: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-c", SERVER, certificate])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The authority's file, and that of a certificate of 127.0.0.1 with its key.
fn certificates(scratch: &Scratch) -> (String, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let own = leaf.pem() + &key.serialize_pem();
    (scratch.write("ca.pem", authority.pem().as_bytes()), scratch.write("server.pem", own.as_bytes()))
}

#[test]
fn an_https_url_is_loaded_where_its_authority_is_trusted_and_fails_by_its_class_where_not() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    let (ca, own) = certificates(&scratch);
    let server = Server::start(&own);
    let url = format!("https://127.0.0.1:{}/", server.port);
    let load = |url: &str, flags: &[&str]| {
        let mut all = vec!["load", url, "--quiet", "--format", "json", "-r", "100", "-n", "40"];
        all.extend(flags);
        let ran = loadgen(&all);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, report["arms"][0].clone())
    };

    let (code, arm) = load(&url, &["--cacert", &ca, "--lanes", "new:1,reused:1"]);
    assert_eq!((code, arm["requests"]["ok"].as_u64()), (0, Some(40)), "{}", arm["requests"]);

    let (code, arm) = load(&url, &["--cacert", &own]);
    assert_eq!((code, arm["failures_by_class"]["tls"].as_u64()), (3, Some(40)), "{arm}");
    let sentence = arm["failures"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("the server's certificate was not accepted"), "{sentence}");

    let (code, arm) = load(&url, &["--cacert", &ca, "--lanes", "h2"]);
    assert_eq!((code, arm["failures_by_class"]["tls"].as_u64()), (3, Some(40)), "{arm}");
    let sentence = arm["failures"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("does not offer HTTP/2"), "{sentence}");
}

#[test]
fn an_authority_that_is_none_is_told_in_one_line() {
    let scratch = Scratch::new();
    let not_pem = scratch.write("hello", b"hello");
    let table = [
        (vec!["https://127.0.0.1:1/", "--cacert", "/does/not/exist"], "No such file"),
        (vec!["https://127.0.0.1:1/", "--cacert", not_pem.as_str()], "no BEGIN CERTIFICATE in it"),
        (vec!["https://127.0.0.1:1/", "--lanes", "pooled"], "does not speak TLS"),
    ];
    for (flags, says) in table {
        let mut all = vec!["load", "--quiet"];
        all.extend(&flags);
        let ran = loadgen(&all);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(says) && ran.stderr.trim().lines().count() == 1, "{}", ran.stderr);
    }
}
