//! From settings to the requests of a lane.

use bytes::Bytes;
use contract::headers;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;
use trial::settings::{Lane, LaneKind, Request as RequestSettings, Target};

use crate::error::EngineError;

/// Made once.
static SLOT: HeaderName = HeaderName::from_static(headers::SLOT);

/// Everything of a lane's requests that does not change from slot to slot.
#[derive(Debug)]
pub(crate) struct Template {
    method: Method,
    uri: Uri,
    /// With the slot's place, and the host's if none was given.
    headers: HeaderMap,
    /// A request names the host that it goes to.
    names_host: bool,
    /// A method that is expected to carry something says so too where it does not.
    says_length: bool,
    body: Body,
    /// Where HTTP/2 says it.
    scheme: Scheme,
    /// The same for HTTP/1.1, in the order in which it is written.
    text: Text,
}

/// The head of a request as it is written, but for what varies.
#[derive(Debug, Default)]
struct Text {
    /// The first line, and the host if it is given.
    first: Vec<u8>,
    /// Every other field, and the name of the slot's.
    fields: Vec<u8>,
}

#[derive(Debug)]
enum Body {
    None,
    Given(Bytes),
    /// A small one that names the slot, so that an answer which echoes another's body shows.
    Slot,
}

impl Template {
    /// Validates what the user gave.
    pub(crate) fn new(
        settings: &RequestSettings,
        lane: &Lane,
        target: &Target,
        secure: bool,
    ) -> Result<Self, EngineError> {
        let method = match lane.kind {
            LaneKind::Post => Method::POST,
            _ => Method::from_bytes(settings.method.as_bytes())
                .map_err(|_| EngineError::Method { value: settings.method.clone() })?,
        };
        let path: PathAndQuery =
            settings.path.parse().map_err(|_| EngineError::Path { value: settings.path.clone() })?;
        let body = match (&settings.body, lane.kind) {
            (Some(text), _) => Body::Given(Bytes::copy_from_slice(text.as_bytes())),
            (None, LaneKind::Post) => Body::Slot,
            (None, _) => Body::None,
        };
        let mut headers = headers_of(settings, lane, &body)?;
        // Whoever routes by names, an ingress for one, is to see the name that was meant.
        if let (Some(host), false) = (host_of(target), headers.contains_key(HOST)) {
            headers.insert(HOST, host);
        }
        let names_host = !headers.contains_key(HOST);
        if names_host {
            headers.insert(HOST, HeaderValue::from_static(""));
        }
        headers.insert(SLOT.clone(), HeaderValue::from_static(""));
        let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
        let text = Text::of(&method, &path, &headers, names_host);
        let says_length = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        let this =
            Self { method, uri: Uri::from(path), headers, names_host, says_length, body, scheme, text };
        if lane.kind == LaneKind::H2 && this.build_h2(0, &HeaderValue::from_static("localhost")).is_err() {
            return Err(EngineError::Header { name: "host".to_owned(), reason: "not a host and port" });
        }
        Ok(this)
    }

    /// The same for HTTP/2, where the authority stands in the URI, and the body goes its own way.
    pub(crate) fn build_h2(
        &self,
        slot: u64,
        host: &HeaderValue,
    ) -> Result<(Request<()>, Bytes), http::Error> {
        let (request, body) = self.build(slot, host);
        let (mut head, _) = request.into_parts();
        let authority = head.headers.remove(HOST).unwrap_or_else(|| host.clone());
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(authority.as_bytes())
            .path_and_query(path)
            .build()?;
        head.version = Version::HTTP_2;
        if !body.is_empty() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok((Request::from_parts(head, ()), body))
    }

    /// Writes the request of a slot as HTTP/1.1; the body that it carries.
    pub(crate) fn write(&self, slot: u64, host: &HeaderValue, out: &mut Vec<u8>) -> Bytes {
        let body = self.body(slot);
        out.extend_from_slice(&self.text.first);
        if self.names_host {
            out.extend_from_slice(b"host: ");
            out.extend_from_slice(host.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&self.text.fields);
        decimal(out, slot);
        if self.says_length || !body.is_empty() {
            out.extend_from_slice(b"\r\ncontent-length: ");
            decimal(out, body.len() as u64);
        }
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&body);
        body
    }

    /// True if the answer has no body, whatever it says.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    fn body(&self, slot: u64) -> Bytes {
        match &self.body {
            Body::None => Bytes::new(),
            Body::Given(bytes) => bytes.clone(),
            Body::Slot => Bytes::from(format!("drainproof slot {slot}\n")),
        }
    }

    /// The request of a slot, and the body that it carries.
    pub(crate) fn build(&self, slot: u64, host: &HeaderValue) -> (Request<Full<Bytes>>, Bytes) {
        let body = self.body(slot);
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        // In places that are there: a map that grows allocates anew.
        if let Some(place) = headers.get_mut(&SLOT) {
            *place = HeaderValue::from(slot);
        }
        if self.names_host
            && let Some(place) = headers.get_mut(HOST)
        {
            *place = host.clone();
        }
        (request, body)
    }
}

impl Text {
    fn of(method: &Method, path: &PathAndQuery, headers: &HeaderMap, names_host: bool) -> Self {
        let mut this = Self::default();
        this.first.extend_from_slice(format!("{method} {path} HTTP/1.1\r\n").as_bytes());
        for (name, value) in headers {
            let field = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat();
            if name == HOST {
                // RFC 9110 would have it first.
                this.first.extend_from_slice(if names_host { &[] } else { &field });
            } else if *name != SLOT {
                this.fields.extend_from_slice(&field);
            }
        }
        this.fields.extend_from_slice(format!("{}: ", headers::SLOT).as_bytes());
        this
    }
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Host and port as they stand in the target's URL.
fn host_of(target: &Target) -> Option<HeaderValue> {
    let Target::Url(url) = target else { return None };
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    HeaderValue::from_str(host).ok()
}

fn headers_of(settings: &RequestSettings, lane: &Lane, body: &Body) -> Result<HeaderMap, EngineError> {
    let mut map = HeaderMap::new();
    for (name, value) in &settings.headers {
        let invalid = |reason| EngineError::Header { name: name.clone(), reason };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("not a header name"))?;
        if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&parsed) || parsed == headers::SLOT {
            return Err(invalid("set by the engine itself"));
        }
        let of_a_connection = ["keep-alive", "proxy-connection", "te", "upgrade"].contains(&parsed.as_str());
        if lane.kind == LaneKind::H2 && of_a_connection {
            return Err(invalid("HTTP/2 has no such header"));
        }
        map.insert(parsed, HeaderValue::from_str(value).map_err(|_| invalid("not a header value"))?);
    }
    if matches!(body, Body::Slot) && !map.contains_key(CONTENT_TYPE) {
        map.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if lane.kind == LaneKind::New {
        map.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if !lane.delay.is_zero() {
        let millis = u64::try_from(lane.delay.as_millis()).unwrap_or(u64::MAX);
        map.insert(headers::DELAY_MS, HeaderValue::from(millis));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use trial::settings::StatusRange;

    use super::*;

    fn lane(kind: LaneKind, delay: Duration) -> Lane {
        Lane { delay, ..Lane::new(kind, 1.0) }
    }

    fn settings(headers: &[(&str, &str)]) -> RequestSettings {
        RequestSettings {
            method: "GET".to_owned(),
            path: "/a?b=c".to_owned(),
            headers: headers
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            body: None,
            expect_status: StatusRange { first: 200, last: 299 },
        }
    }

    fn build(settings: &RequestSettings, kind: LaneKind, delay: Duration) -> Request<Full<Bytes>> {
        let host = HeaderValue::from_static("127.0.0.1:80");
        Template::new(settings, &lane(kind, delay), &Target::Service, false).expect("valid").build(7, &host).0
    }

    #[test]
    fn each_lane_says_what_it_is_about() {
        let plain = settings(&[]);
        let new = build(&plain, LaneKind::New, Duration::ZERO);
        assert_eq!(new.headers()["connection"], "close");
        assert_eq!(new.headers()["host"], "127.0.0.1:80");
        assert_eq!(new.headers()[headers::SLOT], "7");
        assert_eq!((new.method(), new.uri().to_string()), (&Method::GET, "/a?b=c".to_owned()));

        let slow = build(&plain, LaneKind::Slow, Duration::from_millis(2500));
        assert_eq!(slow.headers()[headers::DELAY_MS], "2500");
        assert!(!slow.headers().contains_key("connection"));

        let post = Template::new(&plain, &lane(LaneKind::Post, Duration::ZERO), &Target::Service, false)
            .expect("valid");
        let (request, body) = post.build(7, &HeaderValue::from_static("h"));
        assert_eq!((request.method(), body.as_ref()), (&Method::POST, b"drainproof slot 7\n".as_ref()));
    }

    #[test]
    fn a_url_gives_its_own_host_and_keeps_its_password() {
        let target = Target::Url("http://me:secret@shop.example:8080".to_owned());
        let lane = lane(LaneKind::Reused, Duration::ZERO);
        let host = HeaderValue::from_static("127.0.0.1:80");
        let built = Template::new(&settings(&[]), &lane, &target, false).expect("valid").build(7, &host).0;
        assert_eq!(built.headers()["host"], "shop.example:8080");
        let given = settings(&[("Host", "other.example")]);
        let built = Template::new(&given, &lane, &target, false).expect("valid").build(7, &host).0;
        assert_eq!(built.headers()["host"], "other.example");
    }

    #[test]
    fn a_given_host_wins() {
        let given = build(&settings(&[("Host", "shop.example")]), LaneKind::Reused, Duration::ZERO);
        assert_eq!(given.headers()["host"], "shop.example");
    }

    #[test]
    fn what_is_not_http_is_refused_before_the_run() {
        let reused = lane(LaneKind::Reused, Duration::ZERO);
        let error = |settings: &RequestSettings| {
            Template::new(settings, &reused, &Target::Service, false).expect_err("invalid").to_string()
        };
        assert_eq!(error(&settings(&[("a b", "c")])), "header `a b` cannot be sent: not a header name");
        assert_eq!(error(&settings(&[("a", "c\n")])), "header `a` cannot be sent: not a header value");
        assert_eq!(
            error(&settings(&[("Content-Length", "3")])),
            "header `Content-Length` cannot be sent: set by the engine itself"
        );
        assert_eq!(
            error(&RequestSettings { method: "G T".into(), ..settings(&[]) }),
            "method `G T` is not a token"
        );
        assert_eq!(
            error(&RequestSettings { path: "a b".into(), ..settings(&[]) }),
            "path `a b` cannot be requested"
        );
    }
}
