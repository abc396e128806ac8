//! Endpoints out of etcd, by the JSON form of its protocol: the keys with a prefix, listed, and listed
//! again whenever a watch says that one has changed.
//!
//! A watch only says when to look. So nothing is lost when it breaks off, when etcd starts anew, or
//! when the past that it would have told has been compacted.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use reqwest::redirect::Policy;
use rpc_core::backoff::Backoff;
use serde::{Deserialize, Serialize};

use super::{Address, Discover, Error, InvalidTarget, fixed, list};
use crate::config::Config;

/// The members of one etcd, and a prefix of keys.
#[derive(Clone)]
pub(super) struct Etcd {
    /// Where they are, without a slash at the end. At least one.
    members: Vec<String>,
    prefix: String,
}

impl Etcd {
    /// `http://HOST:PORT/PREFIX`; further members follow after commas.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidTarget> {
        let right = "a target in etcd is etcd:http://HOST:PORT/PREFIX, for example etcd:http://10.0.0.7:2379/rpc/log/";
        let refused = |what: &str| {
            InvalidTarget::new(format!("`{text}` is not a place in etcd: {what}; {right}"))
        };

        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refused("it is no URL"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(refused("its scheme is neither http nor https"));
        }

        let (members, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if prefix.is_empty() {
            return Err(refused("the prefix is missing"));
        }

        let member = |member: &str| match fixed::check(member) {
            Ok(member) if !member.starts_with("unix:") => Ok(format!("{scheme}://{member}")),
            _ => Err(refused(&format!("`{member}` is not HOST:PORT"))),
        };
        let members = members.split(',').map(member).collect::<Result<_, _>>()?;

        Ok(Self {
            members,
            prefix: prefix.to_owned(),
        })
    }
}

impl Discover for Etcd {
    fn watch(&self, config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        let interval = Duration::from_millis(config.discovery.resolve_interval_ms.max(1));
        let looker = Looker {
            etcd: self.clone(),
            interval,
            answer_timeout: config.timeouts.connect_timeout(),
            bytes_max: config.discovery.bytes_max,
            // Etcd does not redirect, and is reached directly.
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build(),
            member: 0,
            watch: None,
            backoff: Backoff::new(
                Duration::from_millis(config.discovery.resolve_interval_min_ms),
                interval,
            ),
            pause: Duration::ZERO,
        };

        stream::unfold(looker, |mut looker| async move {
            Some((looker.next().await, looker))
        })
        .boxed()
    }
}

struct Looker {
    etcd: Etcd,
    interval: Duration,
    answer_timeout: Duration,
    bytes_max: u64,
    http: reqwest::Result<reqwest::Client>,
    /// Whom to ask; the next one after a failure.
    member: usize,
    watch: Option<Watch>,
    backoff: Backoff,
    pause: Duration,
}

impl Looker {
    async fn next(&mut self) -> Result<Vec<Address>, Error> {
        tokio::time::sleep(self.pause).await;

        let list = self.look().await;
        self.pause = if list.is_ok() {
            self.backoff.reset();
            Duration::ZERO
        } else {
            self.watch = None;
            self.member = (self.member + 1) % self.etcd.members.len();
            self.backoff.next_delay()
        };

        list
    }

    /// Waits for a change, where there is a watch that tells it, and lists. It lists without a change
    /// too, after a while: a member that is stuck accepts bytes and tells nothing.
    async fn look(&mut self) -> Result<Vec<Address>, Error> {
        if let Some(watch) = &mut self.watch
            && let Ok(changed) =
                tokio::time::timeout(self.interval, watch.changed(self.bytes_max)).await
        {
            changed?;
        }

        let listed = self.list().await?;
        match &mut self.watch {
            Some(watch) => watch.revision = listed.header.revision,
            None => self.watch = Some(self.open_watch(listed.header.revision).await?),
        }

        addresses(listed.kvs)
    }

    async fn list(&self) -> Result<Listed, Error> {
        let keys = self.keys();
        let answer = async {
            let mut response = self.post("/v3/kv/range", &keys).await?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                within(&body, self.bytes_max)?;
            }

            serde_json::from_slice(&body)
                .map_err(|error| Error::from(format!("its answer is not valid for etcd: {error}")))
        };

        answered(self.answer_timeout, answer).await
    }

    async fn open_watch(&self, revision: i64) -> Result<Watch, Error> {
        let create_request = CreateWatch {
            keys: self.keys(),
            start_revision: revision + 1,
        };
        let request = WatchRequest { create_request };

        let response = answered(self.answer_timeout, self.post("/v3/watch", &request)).await?;
        Ok(Watch {
            response,
            unread: Vec::new(),
            revision,
        })
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<reqwest::Response, Error> {
        let url = format!("{}{path}", self.etcd.members[self.member]);
        let http = self
            .http
            .as_ref()
            .map_err(|error| format!("cannot create the HTTP client: {error}"))?;

        // A member that has lost the others ends a watch instead of leaving it silent.
        let request = http
            .post(url)
            .header("Grpc-Metadata-hasleader", "true")
            .json(body);
        Ok(request.send().await?.error_for_status()?)
    }

    fn keys(&self) -> Keys {
        let mut end = self.etcd.prefix.clone().into_bytes();
        // The first key after all that begin with the prefix. It is UTF-8, so no byte of it is 255.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }

        Keys {
            key: BASE64_STANDARD.encode(&self.etcd.prefix),
            range_end: BASE64_STANDARD.encode(end),
        }
    }
}

/// A key that makes no sense leaves the others; only where none does is there no list.
fn addresses(keys: Vec<KeyValue>) -> Result<Vec<Address>, Error> {
    let mut failure = None;
    let mut addresses = Vec::with_capacity(keys.len());

    for KeyValue { key, value } in keys {
        let (key, value) = (text(&key)?, text(&value)?);
        let entry = if value.trim().is_empty() {
            key.rsplit('/').next().unwrap_or_default()
        } else {
            &value
        };

        match list::parse_one(entry) {
            Ok(address) => addresses.push(address),
            Err(error) => {
                tracing::warn!(key, reason = %error, "a key in etcd is not an endpoint");
                failure = Some(format!("the key `{key}`: {error}"));
            }
        }
    }

    match failure {
        Some(failure) if addresses.is_empty() => Err(failure.into()),
        _ => Ok(addresses),
    }
}

/// A response that goes on and on.
struct Watch {
    response: reqwest::Response,
    /// The beginning of a line.
    unread: Vec<u8>,
    /// What has been listed.
    revision: i64,
}

impl Watch {
    /// Waits for a change of the keys that has not been listed yet. Giving it up loses nothing.
    async fn changed(&mut self, bytes_max: u64) -> Result<(), Error> {
        loop {
            while let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                if self.is_news(&line)? {
                    return Ok(());
                }
            }

            match self.response.chunk().await? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => return Err("it has ended the watch".into()),
            }
            within(&self.unread, bytes_max)?;
        }
    }

    fn is_news(&self, line: &[u8]) -> Result<bool, Error> {
        let Told { result, error } = serde_json::from_slice(line).map_err(|error| {
            format!("its watch sent an answer that is not valid for etcd: {error}")
        })?;

        if let Some(error) = error {
            return Err(format!("its watch has failed: {error}").into());
        }
        if result.canceled {
            return Err(format!("it has cancelled the watch: {}", result.cancel_reason).into());
        }

        Ok(!result.events.is_empty() && result.header.revision > self.revision)
    }
}

async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "no answer within `timeouts.connect_timeout_ms` of {} ms",
                limit.as_millis()
            )
            .into())
        })
}

fn within(bytes: &[u8], bytes_max: u64) -> Result<(), Error> {
    if bytes.len() as u64 > bytes_max {
        return Err(
            format!("its answer is over `discovery.bytes_max` of {bytes_max} bytes").into(),
        );
    }

    Ok(())
}

fn text(encoded: &str) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&BASE64_STANDARD.decode(encoded)?).into_owned())
}

#[derive(Serialize)]
struct Keys {
    key: String,
    range_end: String,
}

#[derive(Serialize)]
struct WatchRequest {
    create_request: CreateWatch,
}

#[derive(Serialize)]
struct CreateWatch {
    #[serde(flatten)]
    keys: Keys,
    start_revision: i64,
}

#[derive(Deserialize)]
struct Listed {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

/// 64-bit numbers are strings in the JSON form of protocol buffers.
#[derive(Deserialize, Default)]
struct Header {
    #[serde(deserialize_with = "number")]
    revision: i64,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    result: WatchResult,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WatchResult {
    header: Header,
    canceled: bool,
    cancel_reason: String,
    events: Vec<serde::de::IgnoredAny>,
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_prefix_are_told_apart() {
        let etcd = Etcd::parse("http://a:1,[::1]:2/rpc/log/").unwrap();
        assert_eq!(
            (etcd.members, etcd.prefix),
            (
                vec!["http://a:1".into(), "http://[::1]:2".into()],
                "rpc/log/".into()
            )
        );

        let check = |text: &str, words: &str| {
            let error = Etcd::parse(text).err().unwrap().to_string();
            assert!(
                error.contains(words) && error.contains("etcd:http://HOST:PORT/PREFIX"),
                "{text}: {error}"
            );
        };

        check("a:2379/x", "it is no URL");
        check("ftp://a:2379/x", "neither http nor https");
        check("http://a:2379", "the prefix is missing");
        check("http://a:2379/", "the prefix is missing");
        check("http://a/x", "`a` is not HOST:PORT");
    }

    #[test]
    fn a_key_without_a_value_is_its_own_address_and_one_without_sense_is_left_out() {
        let key = |key: &str, value: &str| KeyValue {
            key: BASE64_STANDARD.encode(key),
            value: BASE64_STANDARD.encode(value),
        };

        let found = addresses(vec![
            key("x/a:1", ""),
            key("x/2", "b:2"),
            key("x/3", "none"),
        ])
        .unwrap();
        assert_eq!(found, ["a:1".into(), "b:2".into()]);
        assert_eq!(addresses(vec![]).unwrap(), []);

        let error = addresses(vec![key("x/3", "none")]).unwrap_err().to_string();
        assert!(
            error.starts_with("the key `x/3`: `none` is not an address"),
            "{error}"
        );
    }
}
