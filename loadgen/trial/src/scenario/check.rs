//! Checks that many settings share. Each takes the dotted path of the setting, for the error.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{Problem, quoted};
use super::redact;
use crate::settings::human;

/// A whole number within a range, or the default.
pub(super) fn whole<T>(
    path: &str,
    stated: Option<i64>,
    default: T,
    allowed: RangeInclusive<T>,
) -> Result<T, Problem>
where
    T: Copy + Display + PartialOrd + TryFrom<i64>,
{
    let Some(number) = stated else { return Ok(default) };
    let (least, most) = (*allowed.start(), *allowed.end());
    match T::try_from(number) {
        Ok(value) if allowed.contains(&value) => Ok(value),
        Ok(value) if value < least => Err(below(path, number, least, most)),
        Err(_) if number < 0 => Err(below(path, number, least, most)),
        _ => Err(Problem::value(
            path,
            format_args!("{number} is above {most}"),
            format_args!("{least} to {most}"),
        )),
    }
}

fn below<T: Display>(path: &str, number: i64, least: T, most: T) -> Problem {
    Problem::value(path, format_args!("{number} is below {least}"), format_args!("{least} to {most}"))
}

/// A duration within a range, or the default.
pub(super) fn duration(
    path: &str,
    stated: Option<&str>,
    default: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<Duration, Problem> {
    let Some(text) = stated else { return Ok(default) };
    let value = human::parse(text).map_err(|_| {
        Problem::value(
            path,
            format_args!("{} is not a duration", quoted(text)),
            "a number and a unit, such as 250ms, 5s or 2m",
        )
    })?;
    let (least, most) = (human::format(*allowed.start()), human::format(*allowed.end()));
    let limit = match value {
        value if value < *allowed.start() => format!("below {least}"),
        value if value > *allowed.end() => format!("above {most}"),
        value => return Ok(value),
    };
    Err(Problem::value(path, format_args!("{text} is {limit}"), format_args!("{least} to {most}")))
}

/// A path of an HTTP request: origin-form, so that it can stand in a request line as it is.
pub(super) fn http_path(path: &str, stated: Option<String>, default: &str) -> Result<String, Problem> {
    let text = stated.unwrap_or_else(|| default.to_owned());
    let shown = quoted(&redact::url(&text));
    if !text.starts_with('/') {
        return Err(Problem::value(path, format_args!("{shown} does not start with /"), "/, /path?query"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("{shown} holds a space, a control or a non-ASCII character");
        return Err(Problem::value(path, problem, "printable ASCII; others percent-encoded"));
    }
    Ok(text)
}

/// A token of HTTP (RFC 9110, 5.6.2), which methods and names of headers are.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// An `http://` URL with a host, and a port from 1 to 65535 if any.
pub(super) fn http_url(path: &str, text: &str) -> Result<(), Problem> {
    url(path, text, &["http://"], "an http:// URL such as http://host:8080/path")
}

/// The same, or an `https://` URL.
pub(super) fn http_or_https_url(path: &str, text: &str) -> Result<(), Problem> {
    url(path, text, &["http://", "https://"], "an http:// or https:// URL such as http://host:8080/path")
}

fn url(path: &str, text: &str, schemes: &[&str], allowed: &str) -> Result<(), Problem> {
    // A password may stand in it, so the URL itself is not repeated.
    let refuse = |problem: &str| Err(Problem::value(path, problem, allowed));
    let Some(rest) = schemes.iter().find_map(|scheme| strip_prefix_ignoring_case(text, scheme)) else {
        return match text.split_once("://") {
            Some((scheme, _)) => {
                refuse(&format!("{} is not available in this version", quoted(&format!("{scheme}://"))))
            }
            None if text.contains('@') => refuse("this is not a URL"),
            None => refuse(&format!("{} is not a URL", quoted(text))),
        };
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("the URL holds a space, a control or a non-ASCII character");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_port, None),
    };
    if host.is_empty() {
        return refuse("the URL has no host");
    }
    match port.map(str::parse::<u16>) {
        Some(Ok(0) | Err(_)) => refuse("the URL's port is not a number from 1 to 65535"),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Lower-case letters, digits and dashes, as Kubernetes names its objects.
pub(super) fn name(path: &str, text: &str) -> Result<(), Problem> {
    let allowed = "1 to 63 of a-z, 0-9 and -, other than control and negative-control";
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !matches!(text, "control" | "negative-control");
    if fits {
        Ok(())
    } else {
        Err(Problem::value(path, format_args!("{} is not a name", quoted(text)), allowed))
    }
}
