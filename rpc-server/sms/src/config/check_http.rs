//! Checks of the settings of gateways over HTTP.

use hyper::header::HeaderName;

use super::{AnswerFormat, GatewaySettings, HttpAuth, HttpMethod, HttpSettings, Mistake};
use crate::mapping::{FormatString, Placeholder, SecretSource, Url, authorities, did_you_mean};
use crate::outcome::{Rule, RuleClass};

/// Longest time of an attempt that a setting may name, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 600_000;

/// Checks the settings of a gateway over HTTP.
pub(super) fn check(gateway: &GatewaySettings, mistakes: &mut Vec<Mistake>) {
    let http = &gateway.http;
    let mut found = Vec::new();
    check_url(http, &mut found);
    check_texts(gateway, &mut found);
    check_request(http, &mut found);
    check_response(http, &mut found);

    let name = &gateway.name;
    mistakes.extend(
        found
            .into_iter()
            .map(|message| format!("[[sms.gateways]] \"{name}\": {message}")),
    );
}

/// Reads the files and variables that a gateway needs. It blocks. Secrets are not repeated.
pub(super) fn check_files(gateway: &GatewaySettings, mistakes: &mut Vec<Mistake>) {
    let (name, http) = (&gateway.name, &gateway.http);
    let mut note = |message: String| {
        mistakes.push(format!("[[sms.gateways]] \"{name}\": {message}"));
    };

    for (secret, source) in &http.secrets {
        // A source that cannot be read as one was found already.
        let source = source.parse::<SecretSource>().ok();
        if let Some(Err(error)) = source.map(|source| source.read()) {
            note(format!("`http.secrets.{secret}`: {error}"));
        }
    }
    if let Some(Err(error)) = (!http.ca_file.is_empty()).then(|| authorities(&http.ca_file)) {
        note(error.to_string());
    }
}

fn check_url(http: &HttpSettings, found: &mut Vec<String>) {
    let url = &http.url;
    match Url::parse(url) {
        Err(error) => found.push(format!("`http.url` = \"{url}\": {error}")),
        Ok(parsed) => {
            let address = parsed.address;
            if !address.is_tls && !address.is_loopback() && !http.allow_plaintext {
                found.push(format!(
                    "`http.url` = \"{url}\" is plain http to another machine, which shows messages and secrets to the \
                     network: write https, or set `http.allow_plaintext`"
                ));
            }
            let is_at_root = matches!(parsed.target.render(|_| "x".into()).as_str(), "/");
            if http.sign.is_some() && !is_at_root {
                found.push(format!(
                    "`http.url` = \"{url}\" has a path or query, but `http.sign` signs only requests to /: put the \
                     query into `http.query`"
                ));
            }
            if !address.is_tls && !http.ca_file.is_empty() {
                found.push(format!(
                    "`http.ca_file` is for https, and `http.url` = \"{url}\" is plain http; remove one of them"
                ));
            }
        }
    }
}

/// Checks the texts with placeholders, and that the message is somewhere in them.
fn check_texts(gateway: &GatewaySettings, found: &mut Vec<String>) {
    let (http, has_receipts) = (&gateway.http, gateway.receipt.is_some());
    let mut placeholders = Vec::new();
    let url = Url::parse(&http.url).ok();
    if let Some(url) = &url {
        placeholders.extend(url.target.placeholders().cloned());
    }

    let mut is_whole = url.is_some();
    for (place, text) in http.texts() {
        match FormatString::parse(text) {
            Ok(parsed) => placeholders.extend(parsed.placeholders().cloned()),
            // A secret may be in it, so that the text itself is not repeated.
            Err(error) => {
                found.push(format!("`http.{place}`: {error}"));
                is_whole = false;
            }
        }
    }

    for placeholder in &placeholders {
        if let Placeholder::Secret(secret) = placeholder
            && !http.secrets.contains_key(secret)
        {
            let near = did_you_mean(secret, http.secrets.keys().map(String::as_str));
            found.push(format!(
                "`http.secrets` has no \"{secret}\" for {{secret.{secret}}}{near}"
            ));
        }
    }

    if placeholders.contains(&Placeholder::Callback) && !has_receipts {
        found.push(
            "a text of `http` has {callback}, and the gateway has no `receipt`, whose `path` belongs there"
                .into(),
        );
    }

    let has = |wanted: &[Placeholder]| placeholders.iter().any(|found| wanted.contains(found));
    let number = [
        Placeholder::To,
        Placeholder::ToDigits,
        Placeholder::ToNational,
    ];
    if is_whole && !has(&number) {
        found.push("no text of `http` has {to}, {to_digits} or {to_national}: the provider would not know where a message goes".into());
    }
    if is_whole && !has(&[Placeholder::Text]) && http.templates.is_empty() {
        found.push(
            "no text of `http` has {text}, and `http.templates` is empty: it could take no message"
                .into(),
        );
    }
}

fn check_request(http: &HttpSettings, found: &mut Vec<String>) {
    for name in http.headers.keys() {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            found.push(format!(
                "`http.headers`: \"{name}\" is not the name of a header"
            ));
        }
    }

    for (secret, source) in &http.secrets {
        if let Err(error) = source.parse::<SecretSource>() {
            found.push(format!("`http.secrets.{secret}`: {error}"));
        }
    }

    let password = match (&http.auth, &http.sign) {
        (Some(_), Some(_)) => {
            found.push(
                "`http.auth` and `http.sign` are both set; a provider needs only one of them"
                    .into(),
            );
            None
        }
        (Some(HttpAuth::Basic([_, password])), None) => Some(("auth.basic", password)),
        (Some(HttpAuth::Bearer(token)), None) => Some(("auth.bearer", token)),
        (None, Some(sign)) => Some(("sign.secret", &sign.secret)),
        (None, None) => None,
    };
    if let Some((place, password)) = password
        && !password.contains("{secret.")
    {
        found.push(format!(
            "`http.{place}` has no {{secret.NAME}}: a password or token does not belong in the settings; put it into `http.secrets`"
        ));
    }

    let has_body = http.json.is_some() || !http.form.is_empty();
    if http.json.is_some() && !http.form.is_empty() {
        found.push("`http.form` and `http.json` are both set; a request has one body".into());
    }
    if has_body && http.method == HttpMethod::Get {
        found.push("`http.method` is GET, which has no body: use `http.query`, or POST".into());
    }

    let timeout_ms = http.timeout_ms;
    if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
        found.push(format!(
            "`http.timeout_ms` is {timeout_ms} and must be from 1 to {TIMEOUT_MS_MAX}"
        ));
    }
}

fn check_response(http: &HttpSettings, found: &mut Vec<String>) {
    let response = &http.response;
    if !response
        .rules
        .iter()
        .any(|rule| rule.class == RuleClass::Sent)
    {
        found.push(
            "`http.response.rules` has no rule of class \"sent\": every message would stay unknown"
                .into(),
        );
    }

    let codes = response.code.iter().map(|pointer| ("code", pointer));
    let parts = response.parts.iter().map(|pointer| ("parts", pointer));
    for (key, pointer) in codes.chain(parts).chain([("ref", &response.reference)]) {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            found.push(format!(
                "`http.response.{key}` = \"{pointer}\" must be a JSON pointer, for example \"/id\""
            ));
        }
    }

    if response.parts.is_some() && response.format != AnswerFormat::Json {
        found.push("`http.response.parts` is for `http.response.format` = \"json\"".into());
    }

    let looks_at_code = |rule: &Rule| !rule.code.is_empty() || !rule.code_prefix.is_empty();
    if response.code.is_empty() && response.rules.iter().any(looks_at_code) {
        found.push(
            "`http.response.rules` look at a code, but `http.response.code` is empty; set it, for example to \"/code\""
                .into(),
        );
    }
}
