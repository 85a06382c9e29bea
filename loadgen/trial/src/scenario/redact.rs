//! Hides credentials in what is kept or printed.
//!
//! Of headers only those are kept that are known to hold none. In paths, commands and bodies guessing by name is all that can
//! be done; it errs towards hiding.

/// Stands where a credential was.
pub const REDACTED: &str = "<redacted>";

/// Headers that hold no credential: what is in any other is nobody's but the user's to tell.
const HARMLESS: [&str; 12] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-type",
    "expect",
    "host",
    "pragma",
    "range",
    "traceparent",
    "user-agent",
];

/// A header's value where its name says that it holds no credential, else [`REDACTED`].
#[must_use]
pub fn header(name: &str, value: &str) -> String {
    if !HARMLESS.contains(&name.to_ascii_lowercase().as_str()) {
        return REDACTED.to_owned();
    }
    url(value)
}

/// A URL, or a path with a query, without user info and without the values of parameters that look like credentials.
#[must_use]
pub fn url(text: &str) -> String {
    let (head, rest) = match text.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            let authority = authority
                .rsplit_once('@')
                .map_or_else(|| authority.to_owned(), |(_, host)| format!("{REDACTED}@{host}"));
            (format!("{scheme}://{authority}"), rest)
        }
        None => (String::new(), text),
    };
    let Some((path, query)) = rest.split_once('?') else { return head + rest };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_sensitive(name) => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{head}{path}?{}", pairs.join("&"))
}

/// The arguments of a command, without those that look like credentials.
#[must_use]
pub fn arguments(arguments: &[String]) -> Vec<String> {
    let mut redacted = Vec::with_capacity(arguments.len());
    let mut value_follows = false;
    for argument in arguments {
        let is_flag = argument.starts_with('-');
        let names_one = is_sensitive(argument);
        redacted.push(match argument.split_once('=') {
            _ if value_follows && !is_flag => REDACTED.to_owned(),
            Some((name, _)) if is_sensitive(name) && !name.contains(char::is_whitespace) => {
                format!("{name}={REDACTED}")
            }
            _ if names_one && argument.contains(['=', ':', ' ']) => REDACTED.to_owned(),
            _ => url(argument),
        });
        value_follows =
            is_flag && !argument.contains('=') && (names_one || matches!(argument.as_str(), "-u" | "--user"));
    }
    redacted
}

/// A body, or [`REDACTED`] where a word in it says that it holds a credential.
#[must_use]
pub fn body(text: &str) -> String {
    if is_sensitive(text) { REDACTED.to_owned() } else { text.to_owned() }
}

/// True for a name (of a header, parameter, flag or key) that says: credential.
#[must_use]
pub fn is_sensitive(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "api-key",
        "apikey",
        "api_key",
        "credential",
    ];
    // Too short to be looked for inside other words (`passive`, `author`, `keyboard`): they count only as a whole word.
    const SHORT: [&str; 8] = ["pass", "pwd", "auth", "key", "sig", "signature", "jwt", "otp"];
    let lower = name.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word)) || words_of(name).any(|word| SHORT.contains(&&*word))
}

/// The words of a name such as `x-auth`, `DB_PASS` or `privateKey`, in lower case.
fn words_of(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::with_capacity(name.len() + 4);
    let mut before = ' ';
    for char in name.chars() {
        if char.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spaced.push(' ');
        }
        spaced.push(if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { ' ' });
        before = char;
    }
    spaced.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}
