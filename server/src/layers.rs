//! What every answer has, whatever its route, from the outside in:
//!
//! * [`identify`]: who answers, in which state, to which slot
//! * [`close`]: announces the end of the connection after SIGTERM
//! * [`track`]: counts the request as in flight
//! * [`arrive`]: waits for the whole request, within its limits
//! * [`delay`]: the service time, and what the request asks for beyond
//!
//! The inner three are within the outer two, so that an answer's headers tell what holds when its head is made, not
//! when its request came.

use std::{convert::Infallible, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, layer::layer_fn};

use crate::{
    pod::Pod,
    routes::{Answer, Routes},
};

mod arrive;
mod close;
mod delay;
mod identify;
mod track;

use self::{arrive::Arrive, close::Close, delay::Delay, identify::Identify, track::Track};

/// The routes within all layers.
pub(crate) type Stack = Identify<Close<Track<Arrive<Delay<Routes>>>>>;

/// Builds what a connection serves.
pub(crate) fn stack(pod: &Arc<Pod>) -> Stack {
    let share = || Arc::clone(pod);
    ServiceBuilder::new()
        .layer(layer_fn(|inner| Identify::new(share(), inner)))
        .layer(layer_fn(|inner| Close::new(share(), inner)))
        .layer(layer_fn(|inner| Track::new(share(), inner)))
        .layer(layer_fn(|inner| Arrive::new(pod.config.limits(), inner)))
        .layer(layer_fn(|inner| Delay::new(pod.config.service_time(), inner)))
        .service(Routes::new(share()))
}

/// The stack serves what hyper gives it.
const _: fn() = || {
    fn serves<S: Service<Request<Incoming>, Response = Answer, Error = Infallible>>() {}
    serves::<Stack>();
};

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use contract::{headers, lifecycle::Load};
    use http::{Request, StatusCode, header::CONNECTION};
    use http_body_util::{BodyExt, Full};
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;
    use crate::{announce::Announcer, config::tests::config, lifecycle::Phase};

    fn pod(flags: &[&str]) -> Arc<Pod> {
        let announcer = Announcer::append("web-1".into(), Path::new("/dev/null")).unwrap();
        let flags: Vec<_> = ["--pod-name", "web-1"].iter().chain(flags).copied().collect();
        let pod = Pod::new(config(&flags).unwrap(), announcer);
        pod.set_phase(Phase::Serving);
        Arc::new(pod)
    }

    fn request(path: &str) -> Request<Full<bytes::Bytes>> {
        Request::get(path).body(Full::default()).unwrap()
    }

    async fn ask(pod: &Arc<Pod>, request: Request<Full<bytes::Bytes>>) -> Answer {
        stack(pod).oneshot(request).await.unwrap()
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn every_answer_says_who_gave_it() {
        let pod = pod(&[]);
        for (sequence, path) in ["/", "/nowhere", "/status/500", "/delay/x"].iter().enumerate() {
            let mut request = request(path);
            request.headers_mut().insert(headers::SLOT, "17".parse().unwrap());
            let answer = ask(&pod, request).await;
            assert_eq!(header(&answer, headers::POD), Some("web-1"), "{path}");
            assert_eq!(header(&answer, headers::STATE), Some("serving"), "{path}");
            assert_eq!(header(&answer, headers::SLOT), Some("17"), "{path}");
            assert_eq!(
                header(&answer, headers::SEQUENCE),
                Some((sequence + 1).to_string().as_str()),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn probes_have_a_sequence_of_their_own_and_are_not_in_flight() {
        let pod = pod(&[]);
        for path in ["/livez", "/readyz", "/hooks/pre-stop/0"] {
            let answer = ask(&pod, request(path)).await;
            assert_eq!(pod.load(), Load::default());
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
        assert_eq!(header(&ask(&pod, request("/")).await, headers::SEQUENCE), Some("1"));
        assert_eq!(header(&ask(&pod, request("/livez")).await, headers::SEQUENCE), Some("4"));
    }

    #[tokio::test]
    async fn a_request_is_in_flight_until_its_body_is_gone() {
        let pod = pod(&[]);
        let answer = ask(&pod, request("/stream/2/0")).await;
        assert_eq!(pod.load().in_flight, 1);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "chunk 0\nchunk 1\n");
        assert_eq!(pod.load().in_flight, 0);
        // A client that goes away drops the answer before it is made.
        drop(stack(&pod).call(request("/delay/60000")));
        assert_eq!(pod.load().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_begun_before_sigterm_announces_the_close_if_its_head_comes_after() {
        let pod = pod(&[]);
        let begun = tokio::spawn(stack(&pod).oneshot(request("/delay/1000")));
        tokio::time::sleep(Duration::from_millis(500)).await;
        pod.set_phase(Phase::LameDuck);
        let answer = begun.await.unwrap().unwrap();
        assert_eq!(header(&answer, CONNECTION.as_str()), Some("close"));
        assert_eq!(header(&answer, headers::STATE), Some("lame-duck"));
    }

    #[tokio::test]
    async fn no_close_is_announced_before_sigterm_or_where_it_is_not_wanted() {
        let serving = pod(&[]);
        assert_eq!(header(&ask(&serving, request("/")).await, "connection"), None);
        let abrupt = pod(&["--close-connections", "false"]);
        abrupt.set_phase(Phase::LameDuck);
        assert_eq!(header(&ask(&abrupt, request("/")).await, "connection"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_add_up_but_spare_probes() {
        let pod = pod(&["--service-time", "200ms"]);
        let started = Instant::now();
        let mut slow = request("/");
        slow.headers_mut().insert(headers::DELAY_MS, "300".parse().unwrap());
        assert_eq!(ask(&pod, slow).await.status(), StatusCode::OK);
        assert_eq!(started.elapsed().as_millis() / 10, 50);
        let started = Instant::now();
        ask(&pod, request("/readyz")).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        let mut wrong = request("/");
        wrong.headers_mut().insert(headers::DELAY_MS, "600001".parse().unwrap());
        assert_eq!(ask(&pod, wrong).await.status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn bodies_are_echoed_up_to_their_limit() {
        let pod = pod(&["--max-body-bytes", "4"]);
        for (path, body, status) in [
            ("/", "four", StatusCode::OK),
            ("/echo", "four", StatusCode::OK),
            ("/echo", "fifth", StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            let answer = ask(&pod, Request::post(path).body(Full::from(body)).unwrap()).await;
            assert_eq!(answer.status(), status, "{path} {body}");
            if status == StatusCode::OK {
                assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
            } else {
                assert_eq!(header(&answer, "connection"), Some("close"));
            }
        }
    }

    #[tokio::test]
    async fn readiness_fails_before_the_listener_and_after_sigterm_if_asked() {
        for (flag, after) in [("false", StatusCode::OK), ("true", StatusCode::SERVICE_UNAVAILABLE)] {
            let pod = pod(&["--fail-readiness", flag]);
            assert_eq!(ask(&pod, request("/readyz")).await.status(), StatusCode::OK);
            pod.set_phase(Phase::LameDuck);
            assert_eq!(ask(&pod, request("/readyz")).await.status(), after);
            assert_eq!(ask(&pod, request("/livez")).await.status(), StatusCode::OK);
        }
    }
}
