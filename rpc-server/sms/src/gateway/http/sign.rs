//! Signatures of requests, as providers in China ask for them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use ring::{digest, hmac};

use crate::mapping::percent_encoded;

/// Signs the params of a request by Aliyun's RPC style, version 1: answers the query with its signature.
///
/// `query` and `form` are the names and values of the request. Those that the signature is about are added to the query.
pub(super) fn aliyun_rpc_v1(
    method: &str,
    mut query: Vec<(String, String)>,
    form: &[(String, String)],
    key: &str,
    secret: &str,
    moment: &Moment,
) -> String {
    let common = [
        ("AccessKeyId", key.to_owned()),
        ("SignatureMethod", "HMAC-SHA1".to_owned()),
        ("SignatureNonce", moment.nonce.clone()),
        ("SignatureVersion", "1.0".to_owned()),
        ("Timestamp", moment.iso()),
    ];
    query.extend(common.map(|(name, value)| (name.to_owned(), value)));

    // All params count, in the order of their names, wherever they stand.
    let mut params: Vec<&(String, String)> = query.iter().chain(form).collect();
    params.sort();
    let canonical = joined(params.into_iter());
    let text = format!("{method}&%2F&{}", percent_encoded(&canonical));
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        format!("{secret}&").as_bytes(),
    );
    let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));

    query.sort();
    format!(
        "{}&Signature={}",
        joined(query.iter()),
        percent_encoded(&signature)
    )
}

/// `a=b&c=d`, each name and value encoded.
pub(super) fn joined<'p>(pairs: impl Iterator<Item = &'p (String, String)>) -> String {
    let pairs = pairs.map(|(name, value)| {
        let (name, value) = (percent_encoded(name), percent_encoded(value));
        format!("{name}={value}")
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The parts of a request that Tencent's signature is about.
pub(super) struct Tc3Request<'r> {
    pub(super) method: &'r str,
    pub(super) host: &'r str,
    pub(super) query: &'r str,
    pub(super) content_type: &'r str,
    pub(super) body: &'r str,
}

/// Signs a request by TC3-HMAC-SHA256: answers the value of its header `Authorization`.
///
/// The service is the first word of the host, as `sms` of `sms.tencentcloudapi.com`.
pub(super) fn tc3(request: &Tc3Request<'_>, key: &str, secret: &str, moment: &Moment) -> String {
    const SIGNED: &str = "content-type;host";

    let Tc3Request {
        method,
        host,
        query,
        content_type,
        body,
    } = request;
    let canonical = format!(
        "{method}\n/\n{query}\ncontent-type:{content_type}\nhost:{host}\n\n{SIGNED}\n{}",
        sha256(body)
    );

    let (service, date) = (host.split('.').next().unwrap_or_default(), moment.date());
    let scope = format!("{date}/{service}/tc3_request");
    let text = format!(
        "TC3-HMAC-SHA256\n{}\n{scope}\n{}",
        moment.now.as_second(),
        sha256(&canonical)
    );

    let sign = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes())
    };
    let mut signing = sign(format!("TC3{secret}").as_bytes(), &date);
    for part in [service, "tc3_request"] {
        signing = sign(signing.as_ref(), part);
    }
    let signature = hex(sign(signing.as_ref(), &text).as_ref());
    format!(
        "TC3-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
    )
}

/// The moment of a request, which its signature is about.
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) nonce: String,
}

impl Moment {
    /// The time in UTC, as 2026-11-30T08:00:00Z.
    pub(super) fn iso(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn date(&self) -> String {
        self.now.strftime("%Y-%m-%d").to_string()
    }
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    /// The example of Aliyun's documentation of `SendSms`.
    #[test]
    fn the_signature_that_aliyun_publishes_comes_out() {
        let query = pairs(&[
            ("Action", "SendSms"),
            ("Format", "XML"),
            ("OutId", "123"),
            ("PhoneNumbers", "15300000001"),
            ("RegionId", "cn-hangzhou"),
            ("SignName", "阿里云短信测试专用"),
            ("TemplateCode", "SMS_71390007"),
            ("TemplateParam", r#"{"customer":"test"}"#),
            ("Version", "2017-05-25"),
        ]);
        let moment = Moment {
            now: "2017-07-12T02:42:19Z".parse().unwrap(),
            nonce: "45e25e9b-0a6f-4070-8c85-2956eda1b466".into(),
        };

        let signed = aliyun_rpc_v1("GET", query.clone(), &[], "testId", "testSecret", &moment);
        let signature = percent_encoded("zJDF+Lrzhj/ThnlvIToysFRq6t4=");
        assert!(
            signed.ends_with(&format!("&Version=2017-05-25&Signature={signature}")),
            "{signed}"
        );
        assert!(signed.starts_with("AccessKeyId=testId&Action=SendSms&Format=XML&OutId=123&"));

        // The body counts as if it were part of the query.
        let (form, query) = query.split_at(4);
        let split = aliyun_rpc_v1("GET", query.to_vec(), form, "testId", "testSecret", &moment);
        assert!(
            split.ends_with(&format!("&Signature={signature}")),
            "{split}"
        );
        assert!(!split.contains("OutId"), "{split}");
    }

    /// The examples of Tencent's documentation of signatures, version 3.
    #[test]
    fn the_signatures_that_tencent_publishes_come_out() {
        let check = |request: Tc3Request<'_>, secret: &str, now_s, signature: &str| {
            let moment = Moment {
                now: Timestamp::from_second(now_s).unwrap(),
                nonce: String::new(),
            };
            let date = moment.date();
            let expected = format!(
                "TC3-HMAC-SHA256 Credential=AKID/{date}/cvm/tc3_request, SignedHeaders=content-type;host, \
                 Signature={signature}"
            );
            assert_eq!(tc3(&request, "AKID", secret, &moment), expected);
        };

        let get = Tc3Request {
            method: "GET",
            host: "cvm.tencentcloudapi.com",
            query: "Limit=10&Offset=0",
            content_type: "application/x-www-form-urlencoded",
            body: "",
        };
        let signature = "5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474";
        check(
            get,
            "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
            1_539_084_154,
            signature,
        );

        let post = Tc3Request {
            method: "POST",
            host: "cvm.tencentcloudapi.com",
            query: "",
            content_type: "application/json; charset=utf-8",
            body: r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#,
        };
        let signature = "2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c";
        check(
            post,
            "Gu5t9xGARNpq86cd98joQYCN3*******",
            1_551_113_065,
            signature,
        );
    }
}
