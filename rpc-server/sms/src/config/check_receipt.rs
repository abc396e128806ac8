//! Checks of the settings of receipts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{
    GatewayKind, GatewaySettings, Mistake, ReceiptFormat, ReceiptMeaning, ReceiptProof,
    ReceiptSettings, SmsSettings, TwilioProof,
};
use crate::mapping::{AddressRange, FormatString, Placeholder};

/// Checks the listener and the receipts of all gateways.
pub(super) fn check(settings: &SmsSettings, mistakes: &mut Vec<Mistake>) {
    let listen = &settings.receipts.listen;
    let address = listen.parse::<SocketAddr>();
    let is_loopback = address
        .as_ref()
        .is_ok_and(|address| address.ip().is_loopback());
    if !listen.is_empty() && address.is_err() {
        mistakes.push(format!(
            "[sms.receipts] `listen` = \"{listen}\" must be an IP address and a port, for example \"127.0.0.1:8891\""
        ));
    } else if !listen.is_empty() && !is_loopback && !settings.receipts.allow_plaintext {
        mistakes.push(format!(
            "[sms.receipts] `listen` = \"{listen}\" is plain http for other machines: listen on loopback behind a proxy with \
             TLS, or set `allow_plaintext`"
        ));
    }

    let public = &settings.receipts.public_url;
    let host = public
        .strip_prefix("https://")
        .or_else(|| public.strip_prefix("http://"));
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '{', '}', ' ']);
    if !public.is_empty()
        && !host
            .map(|host| host.trim_end_matches('/'))
            .is_some_and(is_host)
    {
        mistakes.push(format!(
            "[sms.receipts] `public_url` = \"{public}\" must be an address without a path, as \"https://sms.example.net\""
        ));
    }

    let mut paths = BTreeSet::new();
    for gateway in &settings.gateways {
        let Some(receipt) = &gateway.receipt else {
            continue;
        };
        let mut found = Vec::new();
        check_gateway(gateway, receipt, &mut found);
        if !paths.insert(&receipt.path) {
            found.push(format!(
                "`receipt.path` = \"{}\" is used by another gateway, too; choose another path",
                receipt.path
            ));
        }
        if listen.is_empty() {
            found.push(
                "`receipt` has no effect, since [sms.receipts] `listen` is empty; set `listen`, or leave `receipt` out".into(),
            );
        }
        if receipt.verify.is_none() && !listen.is_empty() && !is_loopback {
            found.push("`receipt.verify` is missing, but other machines can reach the listener: anyone could send \
                false receipts".into());
        }

        let name = &gateway.name;
        let named = found
            .into_iter()
            .map(|message| format!("[[sms.gateways]] \"{name}\": {message}"));
        mistakes.extend(named);
    }
}

fn check_gateway(gateway: &GatewaySettings, receipt: &ReceiptSettings, found: &mut Vec<String>) {
    if gateway.kind != GatewayKind::Http {
        found.push("`receipt` is for `kind` = \"http\"".into());
    }
    let path = &receipt.path;
    if !path.starts_with('/')
        || !path.bytes().all(|byte| byte.is_ascii_graphic())
        || path.contains(['?', '#', '{', '}'])
    {
        found.push(format!(
            "`receipt.path` = \"{path}\" must be a path, for example \"/sms/receipts/example\""
        ));
    }

    let pointers = [
        ("id", Some(&receipt.id)),
        ("ref", Some(&receipt.reference)),
        ("state", Some(&receipt.state)),
        ("code", Some(&receipt.code)),
        ("list", receipt.list.as_ref()),
    ];
    for (name, pointer) in pointers {
        if let Some(pointer) =
            pointer.filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
        {
            found.push(format!(
                "`receipt.{name}` = \"{pointer}\" must be a JSON pointer, for example \"/id\""
            ));
        }
    }
    if receipt.id.is_empty() && receipt.reference.is_empty() {
        found.push(
            "`receipt.id` and `receipt.ref` are empty; set one of them, which names the message of a receipt".into(),
        );
    }
    if receipt.reference.is_empty() && gateway.http.response.parts.is_some() {
        found.push(
            "`receipt.ref` is empty, but answers have `http.response.parts`; set it, because it names the part that a \
             receipt is about"
                .into(),
        );
    }
    if receipt.state.is_empty()
        || receipt
            .map
            .values()
            .all(|meaning| *meaning == ReceiptMeaning::Ignore)
    {
        found.push("`receipt.state` and `receipt.map` must say what happened to a message".into());
    }
    if receipt.list.is_some() && receipt.format != ReceiptFormat::Json {
        found.push("`receipt.list` is for `receipt.format` = \"json\"".into());
    }
    if let Some(proof) = &receipt.verify {
        check_proof(gateway, receipt, proof, found);
    }
}

fn check_proof(
    gateway: &GatewaySettings,
    receipt: &ReceiptSettings,
    proof: &ReceiptProof,
    found: &mut Vec<String>,
) {
    if proof.twilio.is_some() && proof.path_token.is_some() {
        found.push("`receipt.verify` has `twilio` and `path_token`; set only one of them".into());
    }
    if proof.secret().is_none() && proof.allow.is_empty() {
        found.push("`receipt.verify` is empty: give `twilio`, `path_token` or `allow`".into());
    }
    for range in &proof.allow {
        if AddressRange::parse(range).is_none() {
            found.push(format!(
                "`receipt.verify.allow` has \"{range}\", which must be an address, for example \"203.0.113.7\", or a \
                 range, for example \"203.0.113.0/24\""
            ));
        }
    }
    if let Some((place, text)) = proof.secret() {
        check_secret(gateway, place, text, found);
    }

    if let Some(TwilioProof { public_url, .. }) = &proof.twilio {
        if receipt.format != ReceiptFormat::Form {
            found.push("`receipt.verify.twilio` is for `receipt.format` = \"form\"".into());
        }
        if !public_url.ends_with(&receipt.path) || !public_url.starts_with("http") {
            found.push(format!(
                "`receipt.verify.twilio.public_url` = \"{public_url}\" must be the address that Twilio asks for, which ends \
                 with `receipt.path`"
            ));
        }
    }
}

/// Checks the text that stands for the secret of a proof.
fn check_secret(gateway: &GatewaySettings, place: &str, text: &str, found: &mut Vec<String>) {
    let parsed = FormatString::parse(text);
    let secrets: Vec<&str> = parsed
        .iter()
        .flat_map(FormatString::placeholders)
        .filter_map(|placeholder| match placeholder {
            Placeholder::Secret(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();

    match secrets.as_slice() {
        [secret] if text == format!("{{secret.{secret}}}") => {
            if !gateway.http.secrets.contains_key(*secret) {
                found.push(format!(
                    "`http.secrets` has no \"{secret}\" for `receipt.verify.{place}`"
                ));
            }
        }
        // It may contain a secret, so the text itself is not repeated.
        _ => found.push(format!(
            "`receipt.verify.{place}` must be a secret of `http.secrets`, for example \"{{secret.token}}\""
        )),
    }
}
