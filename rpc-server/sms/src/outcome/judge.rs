//! Judges what became of a submission over HTTP.

use std::time::Duration;

use super::rules::{On5xx, Rule, RuleClass};

/// A complete answer of a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// The code that the gateway's settings point to, if the answer has one.
    pub code: Option<&'a str>,
    /// The body; of an answer about one part of a message, the piece of the body that is about it.
    pub body: &'a str,
    /// The time of `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// How a submission ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No byte of the message left, or the library handed the request back: the gateway does not have it.
    NotSent,
    /// Bytes were written, and no complete answer came.
    NoAnswer,
    /// An answer of this class.
    Answered(Verdict<'a>),
}

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What it means.
    pub class: RuleClass,
    /// The word of the rule that matched.
    pub reason: Option<&'a str>,
    /// How long a throttled gateway wants to be left alone, where it says so.
    pub retry_after: Option<Duration>,
}

/// Judges an answer: by the first rule that matches, else 429 is throttled, 500 to 599 are what `on_5xx` says, and
/// every other answer leaves it unknown.
pub fn judge<'a>(answer: &Answer<'_>, rules: &'a [Rule], on_5xx: On5xx) -> Verdict<'a> {
    let retry_after = answer.retry_after;
    if let Some(rule) = rules.iter().find(|rule| matches(rule, answer)) {
        return Verdict {
            class: rule.class,
            reason: rule.reason.as_deref(),
            retry_after,
        };
    }

    let class = match (answer.status, on_5xx) {
        (429, _) => RuleClass::Throttled,
        (500..=599, On5xx::Temporary) => RuleClass::Temporary,
        _ => RuleClass::Unknown,
    };
    Verdict {
        class,
        reason: None,
        retry_after,
    }
}

fn matches(rule: &Rule, answer: &Answer<'_>) -> bool {
    let has_status = rule.status.is_empty()
        || rule
            .status
            .iter()
            .any(|pattern| pattern.matches(answer.status));
    let is_code = |is: &dyn Fn(&str, &str) -> bool, wanted: &[String]| {
        wanted.is_empty()
            || answer
                .code
                .is_some_and(|code| wanted.iter().any(|wanted| is(code, wanted)))
    };

    has_status
        && is_code(&|code, wanted| code == wanted, &rule.code)
        && is_code(&|code, wanted| code.starts_with(wanted), &rule.code_prefix)
        && rule
            .prefix
            .as_deref()
            .is_none_or(|prefix| answer.body.starts_with(prefix))
        && rule
            .contains
            .as_deref()
            .is_none_or(|text| answer.body.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<Rule> {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(rules: &[Rule], status: u16, code: Option<&str>, body: &str, class: RuleClass) {
        let answer = Answer {
            status,
            code,
            body,
            retry_after: None,
        };
        assert_eq!(
            judge(&answer, rules, On5xx::Unknown).class,
            class,
            "{status} {code:?} {body}"
        );
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        // As Twilio answers.
        let rules = rules(
            r#"[
            {"status":[200,201],"class":"sent"},
            {"status":[429],"class":"throttled"},
            {"code":["21610"],"class":"permanent","reason":"opted_out"},
            {"code":["21211","21614"],"class":"permanent","reason":"number"},
            {"status":[401,403],"class":"gateway_down","reason":"auth"},
            {"status":["4xx"],"class":"permanent"}]"#,
        );

        check(&rules, 201, None, "", RuleClass::Sent);
        check(&rules, 429, Some("20429"), "", RuleClass::Throttled);
        check(&rules, 400, Some("21610"), "", RuleClass::Permanent);
        check(&rules, 403, Some("20003"), "", RuleClass::GatewayDown);
        check(&rules, 404, None, "", RuleClass::Permanent);
        check(&rules, 500, None, "", RuleClass::Unknown);
        check(&rules, 302, None, "", RuleClass::Unknown);

        let answer = Answer {
            status: 400,
            code: Some("21610"),
            body: "",
            retry_after: None,
        };
        assert_eq!(
            judge(&answer, &rules, On5xx::Unknown).reason,
            Some("opted_out")
        );
    }

    #[test]
    fn a_code_may_decide_before_the_status() {
        // Vonage answers its status as a text within a 200; Aliyun's codes have prefixes.
        let vonage = rules(
            r#"[{"code":["0"],"class":"sent"},{"code":["1"],"class":"throttled"},{"status":[200],"class":"permanent"}]"#,
        );
        check(&vonage, 200, Some("0"), "", RuleClass::Sent);
        check(&vonage, 200, Some("1"), "", RuleClass::Throttled);
        check(&vonage, 200, Some("9"), "", RuleClass::Permanent);
        check(&vonage, 200, None, "", RuleClass::Permanent);

        let aliyun = rules(
            r#"[{"code":["OK"],"class":"sent"},{"code":["isp.SYSTEM_ERROR"],"class":"unknown"},
            {"code_prefix":["isv."],"class":"permanent"}]"#,
        );
        check(
            &aliyun,
            200,
            Some("isv.MOBILE_NUMBER_ILLEGAL"),
            "",
            RuleClass::Permanent,
        );
        check(
            &aliyun,
            200,
            Some("isp.SYSTEM_ERROR"),
            "",
            RuleClass::Unknown,
        );
        check(&aliyun, 200, None, "", RuleClass::Unknown);
    }

    #[test]
    fn a_text_answer_is_judged_by_what_it_begins_with_or_contains() {
        // As Kannel answers.
        let rules = rules(
            r#"[{"status":[202,200],"prefix":"0: ","class":"sent"},{"status":[202],"prefix":"3: ","class":"sent"},
            {"status":[403],"contains":"list","class":"permanent","reason":"blocked"},
            {"status":[403],"class":"gateway_down","reason":"auth"}]"#,
        );

        check(
            &rules,
            202,
            None,
            "0: Accepted for delivery",
            RuleClass::Sent,
        );
        check(
            &rules,
            202,
            None,
            "3: Queued for later delivery",
            RuleClass::Sent,
        );
        check(&rules, 202, None, "", RuleClass::Unknown);
        check(
            &rules,
            403,
            None,
            "Number not in white-list",
            RuleClass::Permanent,
        );
        check(
            &rules,
            403,
            None,
            "Authorization failed for sendsms",
            RuleClass::GatewayDown,
        );
    }

    #[test]
    fn without_a_rule_only_429_says_that_the_message_was_not_taken() {
        let wait = Some(Duration::from_secs(7));
        let judged = |status, on_5xx| {
            let answer = Answer {
                status,
                code: None,
                body: "",
                retry_after: wait,
            };
            let verdict = judge(&answer, &[], on_5xx);
            assert_eq!((verdict.reason, verdict.retry_after), (None, wait));
            verdict.class
        };

        for status in 100..=599 {
            let expected = match status {
                429 => RuleClass::Throttled,
                _ => RuleClass::Unknown,
            };
            assert_eq!(judged(status, On5xx::Unknown), expected, "{status}");
        }
        assert_eq!(judged(503, On5xx::Temporary), RuleClass::Temporary);
        assert_eq!(judged(499, On5xx::Temporary), RuleClass::Unknown);
    }

    #[test]
    fn a_status_in_a_rule_is_a_number_or_a_hundred_of_them() {
        let read = |json: &str| serde_json::from_str::<Rule>(json);
        let rule = read(r#"{"status":[202,"4xx"],"class":"permanent"}"#).unwrap();
        let written = serde_json::to_string(&rule).unwrap();
        assert_eq!(written, r#"{"status":[202,"4xx"],"class":"permanent"}"#);

        for wrong in ["\"6xx\"", "\"40x\"", "\"xx\"", "99", "600", "\"200\""] {
            let error = read(&format!(r#"{{"status":[{wrong}],"class":"sent"}}"#)).unwrap_err();
            assert!(
                error.to_string().contains("not a status of HTTP"),
                "{error}"
            );
        }
        read(r#"{"class":"gone"}"#).unwrap_err();
        read(r#"{"class":"sent","statuses":[200]}"#).unwrap_err();
    }
}
