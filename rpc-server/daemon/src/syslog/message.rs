//! A message of syslog as an entry of the log.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rpc_core::api::log::{Append, Fields, Level, SERVICE_BYTES_MAX, TS_MAX};
use serde_json::{Map, Value};
use syslog_loose::{
    IncompleteDate, Message, Protocol, Variant, parse_message_with_year_exact,
    parse_message_with_year_exact_tz,
};

/// The service of messages that name none.
const SERVICE: &str = "syslog";

/// A message, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether it was longer.
    pub(super) is_cut: bool,
    /// Where it came from; `None` for a Unix socket.
    pub(super) peer: Option<IpAddr>,
}

/// Makes an entry of a message. What is no message of syslog is the text of the entry, with the field `malformed`.
pub(super) fn entry_of(received: Received<'_>) -> Append {
    let text = String::from_utf8_lossy(received.bytes);
    let text = text.trim_end_matches(['\0', '\r', '\n']);
    let parsed = parse(text);

    let mut fields = match &parsed {
        Some(message) => fields_of(message),
        None => Map::from_iter([("malformed".to_owned(), true.into())]),
    };
    if let Some(peer) = received.peer {
        fields.insert("peer".into(), peer.to_canonical().to_string().into());
    }
    if received.is_cut {
        fields.insert("truncated".into(), true.into());
    }

    let entry = match &parsed {
        Some(message) => Append {
            ts: time_of(message),
            ..Append::new(level_of(message), service_of(message), text_of(message))
        },
        None => Append::new(Level::Info, SERVICE, text),
    };
    Append {
        fields: (!fields.is_empty())
            .then(|| Fields::of(&fields).ok())
            .flatten(),
        ..entry
    }
}

/// A message of either format; `None` if the text is of neither.
fn parse(text: &str) -> Option<Message<&str>> {
    let parsed = parse_message_with_year_exact(text, year_of, Variant::Either);
    let mut message = parsed.ok().or_else(|| parse_without_time(text))?;
    // The library takes a text without a priority, too, whose first word could be a time: `-`, for example.
    message.severity?;

    if message.protocol == Protocol::RFC3164 {
        message.msg = with_dash(text, message.msg);
    }
    Some(message)
}

/// A message whose time does not exist in the zone of this process: clocks were put forward over it. It has none then.
fn parse_without_time(text: &str) -> Option<Message<&str>> {
    // A time in UTC has the zone in which each time exists.
    const IN_UTC: &str = "<0>1 1970-01-01T00:00:00Z - - - - -";
    let in_utc = parse_message_with_year_exact(IN_UTC, year_of, Variant::RFC5424);
    let utc = in_utc.ok()?.timestamp?.timezone();

    let parsed = parse_message_with_year_exact_tz(text, year_of, Some(utc), Variant::Either);
    parsed.ok().map(|message| Message {
        timestamp: None,
        ..message
    })
}

/// The end `msg` of a text of RFC 3164, with the dash before it. The library leaves that out, as the sign of RFC 5424 for no
/// structured data; RFC 3164 knows no such sign.
fn with_dash<'t>(text: &'t str, msg: &'t str) -> &'t str {
    let text = text.trim_end();
    let head = text.strip_suffix(msg).unwrap_or_default().trim_end();
    let Some(before) = head.strip_suffix('-') else {
        return msg;
    };

    // The end of a name is no word.
    match before.ends_with([' ', '\t', ':']) {
        true => &text[before.len()..],
        false => msg,
    }
}

fn level_of(message: &Message<&str>) -> Level {
    let severity = message.severity.map(|severity| severity as u8);
    severity.and_then(Level::of_severity).unwrap_or(Level::Info)
}

/// The name of the program. On a Unix socket there is no host before it, and it is taken for one.
fn service_of(message: &Message<&str>) -> String {
    let name = message.appname.or(message.hostname).unwrap_or(SERVICE);
    let mut end = name.len().min(SERVICE_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

fn text_of<'m>(message: &Message<&'m str>) -> &'m str {
    // RFC 5424 begins a text that is known to be UTF-8 with this mark.
    message.msg.strip_prefix('\u{feff}').unwrap_or(message.msg)
}

fn time_of(message: &Message<&str>) -> Option<u64> {
    let ms = u64::try_from(message.timestamp?.timestamp_millis()).ok()?;
    (ms <= TS_MAX).then_some(ms)
}

/// What a message has besides. Its structured data has its own names, before which those of the header go.
fn fields_of(message: &Message<&str>) -> Map<String, Value> {
    let mut fields = Map::new();
    for element in &message.structured_data {
        let params = fields
            .entry(element.id)
            .or_insert_with(|| Value::Object(Map::new()));
        for (name, value) in element.params() {
            add_param(params, (*name).to_owned(), value);
        }
    }

    let host = message.appname.and(message.hostname);
    let facility = message
        .facility
        .map(|facility| facility.as_str().to_owned());
    let header = [
        ("host", host.map(str::to_owned)),
        ("procid", message.procid.as_ref().map(ToString::to_string)),
        ("msgid", message.msgid.map(str::to_owned)),
        ("facility", facility),
    ];
    for (name, value) in header {
        if let Some(value) = value {
            fields.insert(name.into(), value.into());
        }
    }
    fields
}

/// A name that comes several times, as RFC 5424 allows, has an array.
fn add_param(params: &mut Value, name: String, value: String) {
    let Some(params) = params.as_object_mut() else {
        return;
    };
    match params.get_mut(&name) {
        None => {
            params.insert(name, value.into());
        }
        Some(Value::Array(values)) => values.push(value.into()),
        Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
    }
}

/// The year of a date without one: last year for December in January.
fn year_of((month, ..): IncompleteDate) -> i32 {
    let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
    year_near(month, i32::from(now.year()), now.month())
}

fn year_near(month: u32, this_year: i32, this_month: i8) -> i32 {
    match (month, this_month) {
        (12, 1) => this_year - 1,
        // The sender's clock is a few hours ahead.
        (1, 12) => this_year + 1,
        _ => this_year,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;

    fn entry(text: &str) -> Append {
        entry_of(Received {
            bytes: text.as_bytes(),
            is_cut: false,
            peer: None,
        })
    }

    fn fields(entry: &Append) -> Value {
        let fields = entry.fields.as_ref();
        fields.map_or(Value::Null, |fields| fields.decode().unwrap())
    }

    #[test]
    fn the_examples_of_rfc_5424_are_entries() {
        let one = entry(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
        );
        assert_eq!((one.level, &*one.service), (Level::Fatal, "su"));
        assert_eq!(one.message, "'su root' failed for lonvick on /dev/pts/8");
        assert_eq!(one.ts, Some(1_065_910_455_003));
        assert_eq!(
            fields(&one),
            json!({"host": "mymachine.example.com", "msgid": "ID47", "facility": "auth"})
        );

        let two = entry(
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        );
        assert_eq!((two.level, &*two.service), (Level::Info, "myproc"));
        assert_eq!(two.ts, Some(1_061_727_255_000));
        assert_eq!(fields(&two)["procid"], "8710");

        let three = entry(
            r#"<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Appli\"cation" ip="a" ip="b" ip="c"][host x="y"] An event"#,
        );
        assert_eq!(three.message, "An event");
        assert_eq!(
            fields(&three),
            json!({
                "exampleSDID@32473": {"iut": "3", "eventSource": "Appli\"cation", "ip": ["a", "b", "c"]},
                "host": "h", "msgid": "ID47", "facility": "local4",
            })
        );

        let least = entry("<7>1 - - - - - -");
        assert_eq!(
            (least.level, &*least.service, &*least.message),
            (Level::Debug, "syslog", "")
        );
        assert_eq!(
            (least.ts, fields(&least)),
            (None, json!({"facility": "kern"}))
        );
    }

    #[test]
    fn what_programs_of_rfc_3164_send_has_its_service_with_and_without_a_host() {
        for (text, host) in [
            ("<11>Nov 30 12:00:00 web1 cron[42]: done", Some("web1")),
            ("<11>Nov 30 12:00:00 cron[42]: done", None),
        ] {
            let entry = entry(text);
            assert_eq!(
                (entry.level, &*entry.service, &*entry.message),
                (Level::Error, "cron", "done")
            );
            let fields = fields(&entry);
            assert_eq!(
                (&fields["procid"], fields["host"].as_str()),
                (&json!("42"), host)
            );
            assert!(entry.ts.is_some());
        }
        assert_eq!(entry("<11>Nov 30 12:00:00 cron: done").service, "cron");
    }

    #[test]
    fn a_text_of_rfc_3164_that_begins_with_a_dash_keeps_it() {
        for (text, message) in [
            ("web1 temp: -5 degrees", "-5 degrees"),
            ("web1 temp:-5 degrees", "-5 degrees"),
            ("web1 temp[7]: --- begin ---", "--- begin ---"),
            ("temp: - - a", "- - a"),
            ("web1 temp: -", "-"),
            ("web1 temp- a - b", "a - b"),
            ("web1 temp-: a", "a"),
            ("web1 temp: a -5", "a -5"),
        ] {
            let text = format!("<11>Nov 30 12:00:00 {text}\n");
            assert_eq!(entry(&text).message, message, "{text}");
        }
        let new = entry("<11>1 - web1 temp - - - -5 degrees");
        assert_eq!(new.message, "-5 degrees");
    }

    #[test]
    fn every_severity_has_a_level() {
        let level = |severity: u32| entry(&format!("<{severity}>1 - - - - - - m")).level;
        let levels: Vec<Level> = (0..8).map(level).collect();
        let (fatal, info) = (Level::Fatal, Level::Info);
        assert_eq!(
            levels,
            [
                fatal,
                fatal,
                fatal,
                Level::Error,
                Level::Warn,
                info,
                info,
                Level::Debug
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_a_text_that_says_so() {
        for text in [
            "hello",
            "<13>",
            "<999>1 - - - - - - x",
            "--- begin ---",
            "- a: b",
            "Nov 30 12:00:00 web1 cron: done",
            "<13>Feb 31 12:00:00 h a: b",
            "{\"a\":1}",
        ] {
            let entry = entry(text);
            assert_eq!((&*entry.service, &*entry.message), ("syslog", text));
            assert_eq!(fields(&entry), json!({"malformed": true}));
        }

        let peer = IpAddr::from([10, 0, 0, 7]);
        let entry = entry_of(Received {
            bytes: b"\xff\x00cut\0\r\n",
            is_cut: true,
            peer: Some(peer),
        });
        assert_eq!(entry.message, "\u{fffd}\0cut");
        assert_eq!(
            fields(&entry),
            json!({"malformed": true, "peer": "10.0.0.7", "truncated": true})
        );
    }

    #[test]
    fn any_bytes_are_an_entry_that_the_log_takes() {
        let mut random = fastrand::Rng::with_seed(7);
        let seeds: [&[u8]; 3] = [
            br#"<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [a@1 iut="3" x="y"] An event"#,
            b"<13>Nov 30 12:00:00 host app[12]: hello world",
            b"<13>Nov 30 2026 12:00:00.123 +02:00 host app: hello",
        ];
        for round in 0..20_000 {
            let mut bytes = seeds[round % seeds.len()].to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, b"<>[]\"\\ :-T1\xc3"[random.usize(..12)]),
                }
            }

            let entry = entry_of(Received {
                bytes: &bytes,
                is_cut: false,
                peer: None,
            });
            assert!(entry.service.len() <= SERVICE_BYTES_MAX);
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(
                serde_json::from_str::<Append>(&text).unwrap(),
                entry,
                "{text}"
            );
        }
        let long = entry(&format!("<13>1 - h {} - - - m", "ä".repeat(300)));
        assert_eq!(long.service.len(), SERVICE_BYTES_MAX);
    }

    #[test]
    fn a_message_of_the_hour_that_its_zone_skips_has_no_time_and_all_else() {
        const IN_ZONE: &str = "SYSLOG_TEST_IN_ZONE";
        if std::env::var_os(IN_ZONE).is_none() {
            // A process has one zone. In this one, clocks go forward at two on March 29 of each year.
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("syslog::message::tests::a_message_of_the_hour_that_its_zone_skips_has_no_time_and_all_else")
                .envs([(IN_ZONE, "1"), ("TZ", "AAA0BBB,J88/2,J300/3")])
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout);
            assert!(
                child.status.success() && output.contains("1 passed"),
                "{output}"
            );
            return;
        }

        let later = entry("<11>Mar 29 03:30:00 web1 cron[42]: done");
        let minutes = later.ts.unwrap() / 60_000 % (24 * 60);
        assert_eq!(minutes, 2 * 60 + 30, "the zone is not in effect");

        let skipped = entry("<11>Mar 29 02:30:00 web1 cron[42]: done");
        assert_eq!(skipped, Append { ts: None, ..later });
    }

    #[test]
    fn a_date_without_a_year_is_of_the_year_that_is_near() {
        assert_eq!(year_near(11, 2026, 11), 2026);
        assert_eq!(year_near(12, 2027, 1), 2026);
        assert_eq!(year_near(1, 2026, 12), 2027);
        let ms = entry("<11>Jun 30 12:00:00 h a: m").ts.unwrap();
        let this_year = Timestamp::now().to_zoned_datetime(TimeZone::UTC).year();
        let year = Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
        assert_eq!(year.to_zoned_datetime(TimeZone::UTC).year(), this_year);
    }
}
