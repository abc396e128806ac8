//! The settings of docs/sms.md, tried against answers as the providers document them.

use super::*;
use crate::config::SmsSettings;
use crate::testing::Recorded;

const DOCUMENT: &str = include_str!("../../../../../../docs/sms.md");

/// A provider of the document, with a gateway by its settings.
struct Documented {
    provider: CountingGateway,
    gateway: HttpGateway,
}

impl Documented {
    /// The settings below a heading, with the provider's address and secrets replaced.
    async fn of(heading: &str) -> Self {
        let (_, below) = DOCUMENT.split_once(&format!("\n### {heading}\n")).unwrap();
        let (_, block) = below.split_once("```toml\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let document: toml::Value = toml::from_str(block).unwrap();
        let mut settings: SmsSettings = document["sms"].clone().try_into().unwrap();
        settings.countries = vec!["*".into()];
        settings.receipts.listen = "127.0.0.1:8891".into();
        assert_eq!(settings.mistakes(), Vec::<String>::new(), "{heading}");

        let provider = CountingGateway::start(Mode::Hang).await.unwrap();
        let mut http = settings.gateways.remove(0).http;
        let (_, behind) = http.url.split_once("://").unwrap();
        let path = behind.find('/').map_or("", |at| &behind[at..]);
        http.url = format!("{}{path}", provider.url());
        for source in http.secrets.values_mut() {
            *source = "env:CARGO_PKG_NAME".into();
        }
        Self {
            provider,
            gateway: HttpGateway::new(http).unwrap(),
        }
    }

    /// What the gateway makes of an answer.
    async fn answer(&self, status: u16, body: &str) -> (RuleClass, Option<String>, Option<String>) {
        self.provider.set_mode(Mode::answer(status, body));
        let message = match self.gateway.takes_text() {
            true => message("hello"),
            false => login(),
        };
        match self.gateway.submit(&message).await {
            Submission::Answered {
                class,
                reason,
                mut parts,
                ..
            } => {
                assert_eq!(parts.count, 0, "it is about the whole message");
                (class, reason, parts.accepted.pop().flatten())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn check(&self, status: u16, body: &str, class: RuleClass, reason: &str) {
        let answered = self.answer(status, body).await;
        assert_eq!(
            (answered.0, answered.1.as_deref()),
            (class, Some(reason)),
            "{status} {body}"
        );
    }

    async fn check_sent(&self, status: u16, body: &str, reference: Option<&str>) {
        let answered = self.answer(status, body).await;
        assert_eq!(
            (answered.0, answered.2.as_deref()),
            (RuleClass::Sent, reference),
            "{status} {body}"
        );
    }

    /// Long messages, whose parts have an answer each.
    async fn check_parts(&self) {
        let check = async |statuses: &[&str], class, accepted: &[&str]| {
            let parts: Vec<String> = statuses
                .iter()
                .zip(1..)
                .map(|(status, n)| format!(r#"{{"message-id":"m-{n}","status":"{status}"}}"#))
                .collect();
            let (count, parts) = (parts.len(), parts.join(","));
            let body = format!(r#"{{"message-count":"{count}","messages":[{parts}]}}"#);

            self.provider.set_mode(Mode::answer(200, &body));
            let submitted = self.gateway.submit(&message("hello")).await;
            let Submission::Answered {
                class: found,
                parts,
                ..
            } = submitted
            else {
                panic!("{submitted:?}");
            };
            let names: Vec<&str> = parts.references().collect();
            assert_eq!(
                (found, parts.count as usize, names.as_slice()),
                (class, count, accepted),
                "{body}"
            );
        };

        check(&["0", "0", "0"], RuleClass::Sent, &["m-1", "m-2", "m-3"]).await;
        check(&["0", "1"], RuleClass::Throttled, &["m-1"]).await;
        check(&["1", "0"], RuleClass::Throttled, &["m-2"]).await;
        check(&["9", "15"], RuleClass::Permanent, &[]).await;
        check(&["0", "15", "5"], RuleClass::Unknown, &["m-1"]).await;
    }

    fn last(&self) -> Recorded {
        self.provider.requests().pop().unwrap()
    }
}

/// A message by a template.
fn login() -> Claimed {
    let mut login = message("");
    login.content = Content::Template {
        name: "login_code".into(),
        vars: r#"{"code":"4711"}"#.into(),
    };
    login
}

#[tokio::test]
async fn twilio() {
    let twilio = Documented::of("Twilio").await;
    let accepted = r#"{"account_sid":"ACa","body":"hello","status":"queued","num_segments":"1","error_code":null,
        "sid":"SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","to":"+8613800138000"}"#;
    let sid = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    twilio.check_sent(201, accepted, Some(sid)).await;
    let request = twilio.last();
    assert!(
        request
            .head
            .starts_with("POST /2010-04-01/Accounts/rpc-sms/Messages.json HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(
        request.body,
        "Body=hello&From=%2B14155550100&StatusCallback=https%3A%2F%2Fsms.example.net%2Fsms%2Freceipts%2Ftwilio&\
         To=%2B8613800138000"
    );

    let error = |code: u32| format!(r#"{{"code":{code},"message":"…","status":400}}"#);
    twilio
        .check(400, &error(21211), RuleClass::Permanent, "number")
        .await;
    twilio
        .check(400, &error(21610), RuleClass::Permanent, "opted_out")
        .await;
    twilio
        .check(
            400,
            &error(21602),
            RuleClass::Permanent,
            "HTTP 400, code 21602",
        )
        .await;
    twilio
        .check(401, &error(20003), RuleClass::GatewayDown, "auth")
        .await;
    twilio
        .check(
            429,
            &error(20429),
            RuleClass::Throttled,
            "HTTP 429, code 20429",
        )
        .await;
    twilio.check(503, "", RuleClass::Unknown, "HTTP 503").await;
}

#[tokio::test]
async fn vonage() {
    let vonage = Documented::of("Vonage").await;
    let accepted = r#"{"message-count":"1","messages":[{"to":"8613800138000","message-id":"0C000000217B7F02",
        "status":"0","remaining-balance":"15.53590000","message-price":"0.03330000","network":"46000"}]}"#;
    vonage
        .check_sent(200, accepted, Some("0C000000217B7F02"))
        .await;
    let id = message("").id;
    assert_eq!(
        vonage.last().body,
        format!(
            "api_key=rpc-sms&api_secret=rpc-sms&client-ref={id}&from=Example&text=hello&to=8613800138000&type=text"
        )
    );

    let status = |status: &str| {
        format!(r#"{{"message-count":"1","messages":[{{"status":"{status}","error-text":"…"}}]}}"#)
    };
    for (code, class, reason) in [
        ("1", RuleClass::Throttled, "HTTP 200, code 1"),
        ("4", RuleClass::GatewayDown, "account"),
        ("5", RuleClass::Unknown, "HTTP 200, code 5"),
        ("6", RuleClass::Permanent, "HTTP 200, code 6"),
        ("7", RuleClass::Permanent, "blocked"),
        ("9", RuleClass::GatewayDown, "account"),
        ("15", RuleClass::Permanent, "HTTP 200, code 15"),
        ("99", RuleClass::Unknown, "HTTP 200, code 99"),
    ] {
        vonage.check(200, &status(code), class, reason).await;
    }

    vonage.check_parts().await;
    vonage.provider.set_mode(Mode::answer(200, accepted));
    vonage.gateway.submit(&message("ж")).await;
    assert!(vonage.last().body.ends_with("&type=unicode"));
}

#[tokio::test]
async fn infobip() {
    let infobip = Documented::of("Infobip").await;
    let status = |group: &str, name: &str| {
        format!(
            r#"{{"bulkId":"a28dd97c","messages":[{{"messageId":"2250be2d4219-3af1","destination":"8613800138000",
                "status":{{"groupId":1,"groupName":"{group}","id":26,"name":"{name}","description":"…"}}}}]}}"#
        )
    };
    let accepted = status("PENDING", "PENDING_ACCEPTED");
    infobip
        .check_sent(200, &accepted, Some("2250be2d4219-3af1"))
        .await;
    let request = infobip.last();
    assert!(
        request.head.contains("\r\nauthorization: App rpc-sms\r\n"),
        "{}",
        request.head
    );
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    let expected = json!({"messages": [{
        "sender": "Example",
        "destinations": [{"to": "8613800138000", "messageId": message("").id}],
        "content": {"text": "hello"},
    }]});
    assert_eq!(body, expected);

    let rejected = status("REJECTED", "REJECTED_DESTINATION_NOT_REGISTERED");
    let reason = "HTTP 200, code REJECTED_DESTINATION_NOT_REGISTERED";
    infobip
        .check(200, &rejected, RuleClass::Permanent, reason)
        .await;
    let empty = status("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS");
    infobip
        .check(200, &empty, RuleClass::GatewayDown, "account")
        .await;
    let error =
        r#"{"errorCode":"E401","description":"…","action":"…","violations":[],"resources":[]}"#;
    infobip
        .check(401, error, RuleClass::GatewayDown, "auth")
        .await;
    infobip
        .check(400, error, RuleClass::Permanent, "HTTP 400")
        .await;
    infobip
        .check(429, error, RuleClass::Throttled, "HTTP 429")
        .await;
    infobip
        .check(500, error, RuleClass::Unknown, "HTTP 500")
        .await;
}

#[tokio::test]
async fn kannel() {
    let kannel = Documented::of("Kannel").await;
    kannel
        .check_sent(202, "0: Accepted for delivery", None)
        .await;
    let head = kannel.last().head;
    let id = message("").id;
    let target = format!(
        "GET /cgi-bin/sendsms?charset=UTF-8&coding=0&dlr-mask=27&dlr-url=http%3A%2F%2F127.0.0.1%3A8891%2Fsms%2F\
         receipts%2Fkannel%3Fid%3D{id}%26type%3D%25d&from=Example&password=rpc-sms&text=hello&\
         to=%2B8613800138000&username=rpc-sms HTTP/1.1\r\n"
    );
    assert!(head.starts_with(&target), "{head}");
    kannel
        .check_sent(202, "3: Queued for later delivery", None)
        .await;

    let denied = "Authorization failed for sendsms";
    kannel
        .check(403, denied, RuleClass::GatewayDown, "auth")
        .await;
    let listed = "Number(s) has/have been denied by white- and/or black-lists.";
    kannel
        .check(403, listed, RuleClass::Permanent, "blocked")
        .await;
    let failed = "Temporal failure, try again later.";
    kannel
        .check(503, failed, RuleClass::Temporary, "HTTP 503")
        .await;
    kannel
        .check(
            400,
            "Missing receiver number",
            RuleClass::Permanent,
            "HTTP 400",
        )
        .await;
    kannel.check(202, "", RuleClass::Unknown, "HTTP 202").await;
}

#[tokio::test]
async fn aliyun() {
    let aliyun = Documented::of("Aliyun").await;
    let code = |code: &str| {
        format!(
            r#"{{"Message":"…","RequestId":"873043ac-bcda-44db-9052-2e204c6ed20f","Code":"{code}"}}"#
        )
    };
    let accepted = r#"{"Message":"OK","RequestId":"F655A8D5-B967-440B-8683-DAD6FF8DE990","Code":"OK",
        "BizId":"900619746936498440^0"}"#;
    aliyun
        .check_sent(200, accepted, Some("900619746936498440^0"))
        .await;
    let head = aliyun.last().head;
    for part in [
        "GET /?AccessKeyId=rpc-sms&Action=SendSms&Format=JSON&OutId=",
        "&PhoneNumbers=13800138000&RegionId=cn-hangzhou&SignName=%E9%98%BF%E9%87%8C%E4%BA%91",
        "&SignatureMethod=HMAC-SHA1&SignatureNonce=",
        "&TemplateCode=SMS_71390007&TemplateParam=%7B%22code%22%3A%224711%22%7D&Timestamp=",
        "&Version=2017-05-25&Signature=",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }

    for (status, text, class, reason) in [
        (
            200,
            "isv.BUSINESS_LIMIT_CONTROL",
            RuleClass::Permanent,
            "number_limit",
        ),
        (
            200,
            "isv.AMOUNT_NOT_ENOUGH",
            RuleClass::GatewayDown,
            "account",
        ),
        (
            200,
            "isp.SYSTEM_ERROR",
            RuleClass::Unknown,
            "HTTP 200, code isp.SYSTEM_ERROR",
        ),
        (
            200,
            "isv.MOBILE_NUMBER_ILLEGAL",
            RuleClass::Permanent,
            "HTTP 200, code isv.MOBILE_NUMBER_ILLEGAL",
        ),
        (
            400,
            "Throttling.User",
            RuleClass::Throttled,
            "HTTP 400, code Throttling.User",
        ),
        (
            404,
            "InvalidAccessKeyId.NotFound",
            RuleClass::GatewayDown,
            "auth",
        ),
        (400, "SignatureDoesNotMatch", RuleClass::GatewayDown, "auth"),
    ] {
        aliyun.check(status, &code(text), class, reason).await;
    }
}

#[tokio::test]
async fn tencent() {
    let tencent = Documented::of("Tencent").await;
    let status = |code: &str| {
        format!(
            r#"{{"Response":{{"SendStatusSet":[{{"SerialNo":"5000:1045710669157053657849499619",
                "PhoneNumber":"+8613800138000","Fee":1,"SessionContext":"a","Code":"{code}","Message":"…",
                "IsoCode":"CN"}}],"RequestId":"a0aabda6-cf91-4f3e-a81f-9198114a2279"}}}}"#
        )
    };
    let error = |code: &str| {
        format!(
            r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"…"}},"RequestId":"ed93f3cb"}}}}"#
        )
    };
    let serial = "5000:1045710669157053657849499619";
    tencent.check_sent(200, &status("Ok"), Some(serial)).await;

    let request = tencent.last();
    let signed = "\r\nauthorization: TC3-HMAC-SHA256 Credential=rpc-sms/";
    assert!(request.head.contains(signed), "{}", request.head);
    for header in [
        "x-tc-action: SendSms",
        "content-type: application/json",
        "x-tc-timestamp: ",
    ] {
        assert!(
            request.head.contains(&format!("\r\n{header}")),
            "{header}: {}",
            request.head
        );
    }
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        (
            &body["PhoneNumberSet"],
            &body["TemplateId"],
            &body["TemplateParamSet"]
        ),
        (&json!(["+8613800138000"]), &json!("1110"), &json!(["4711"]))
    );

    let limit = status("LimitExceeded.PhoneNumberDailyLimit");
    tencent
        .check(200, &limit, RuleClass::Permanent, "number_limit")
        .await;
    let empty = status("FailedOperation.InsufficientBalanceInSmsPackage");
    tencent
        .check(200, &empty, RuleClass::GatewayDown, "account")
        .await;
    let template = status("FailedOperation.TemplateIncorrectOrUnapproved");
    let reason = "HTTP 200, code FailedOperation.TemplateIncorrectOrUnapproved";
    tencent
        .check(200, &template, RuleClass::Permanent, reason)
        .await;
    tencent
        .check(
            200,
            &error("AuthFailure.SignatureFailure"),
            RuleClass::GatewayDown,
            "account",
        )
        .await;
    let many = error("RequestLimitExceeded");
    tencent
        .check(
            200,
            &many,
            RuleClass::Throttled,
            "HTTP 200, code RequestLimitExceeded",
        )
        .await;
    let internal = error("InternalError.Timeout");
    tencent
        .check(
            200,
            &internal,
            RuleClass::Unknown,
            "HTTP 200, code InternalError.Timeout",
        )
        .await;
}
