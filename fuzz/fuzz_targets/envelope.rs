//! The readers of rpc-core against a judge that reads docs/protocol.md with serde_json.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rpc_core::RawJson;
use rpc_core::api::log::{self, AppendBatch, AppendRef, Emit};
use rpc_core::frame::{
    BadFrameKind, BadReply, FromServer, Request, encode_request, fast, id_of_part,
};
use rpc_fuzz::judge::{self, Verdict};

fuzz_target!(|data: &[u8]| {
    let Some((side, line)) = data.split_first() else {
        return;
    };

    // A line holds no line break.
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();

    if side & 1 == 0 {
        request(line)
    } else {
        reply(line)
    }
});

fn request(line: &[u8]) {
    let decoded = Request::decode(line);
    match (&decoded, judge::request(line)) {
        (_, Verdict::Open) => {}
        (Ok(request), Verdict::Good(fields)) => {
            check(request, &fields);
            again(request);
        }
        (Err(bad), Verdict::BadId) => {
            assert_eq!((bad.kind, bad.id), (BadFrameKind::Id, None), "{bad}");
        }
        (Err(bad), Verdict::Malformed(id)) => {
            assert_eq!((bad.kind, bad.id), (BadFrameKind::Malformed, id), "{bad}");
            assert!(!bad.message.is_empty());
        }
        (decoded, verdict) => panic!(
            "{}: {decoded:?}, and the judge says {verdict:?}",
            line.escape_ascii()
        ),
    }

    if let Some(usual) = fast::Request::read(line) {
        // As a handler would: typed first.
        let is_typed = usual.request().params.decode::<serde_json::Value>().is_ok();
        assert!(!is_typed || usual.is_sound());

        if usual.is_sound() {
            let general = decoded.as_ref().expect("what is sound is good");
            let usual = usual.request();
            assert_eq!(
                (
                    usual.id,
                    usual.cmdid,
                    usual.timestamp,
                    usual.timeout,
                    usual.oneway,
                    usual.params.as_str()
                ),
                (
                    general.id,
                    general.cmdid,
                    general.timestamp,
                    general.timeout,
                    general.oneway,
                    general.params.as_str()
                ),
            );
            assert!(general.credit.is_none() && general.meta.is_empty());
        }
    }

    if let Ok(request) = &decoded {
        usual_entries(&request.params);
    }
    let _ = id_of_part(&line[..line.len() / 2]);
}

/// Entries in the usual form are those that serde reads.
fn usual_entries(params: &RawJson<'_>) {
    if let Some(entry) = params.read_by(log::fast::entry) {
        let by_serde = params.decode_borrowed::<AppendRef<'_>>();
        assert_eq!(entry, by_serde.expect("a usual entry is one"));
    }

    let mut found = Vec::new();
    let emitted = params.read_by(|text| log::fast::emit(text, |entry| found.push(entry.clone())));
    if emitted.is_some() {
        let by_serde = params.decode::<Emit>().expect("a usual emit is one");
        let entries = by_serde.entries.iter().map(AppendRef::from);
        assert!(entries.eq(found));
    }

    let mut found = Vec::new();
    let batch = params.read_by(|text| log::fast::batch(text, |entry| found.push(entry.clone())));
    if let Some((producer, number)) = batch {
        let by_serde = params.decode::<AppendBatch>();
        let by_serde = by_serde.expect("a usual batch is one");
        assert_eq!((&*producer, number), (&*by_serde.producer, by_serde.batch));
        let entries = by_serde.entries.iter().map(AppendRef::from);
        assert!(entries.eq(found));
    }
}

fn check(request: &Request<'_>, fields: &judge::Fields<'_>) {
    let timeout_ms = request.timeout.map(|timeout| timeout.as_millis());
    assert_eq!(
        (
            request.id,
            request.cmdid.number(),
            request.timestamp,
            request.params.as_str(),
            timeout_ms
        ),
        (
            fields.id,
            fields.cmdid,
            fields.timestamp,
            fields.params.unwrap_or("{}"),
            fields.timeout_ms.map(u128::from)
        ),
    );

    assert_eq!(
        (request.oneway, request.credit, &request.meta.entries()),
        (fields.oneway, fields.credit, &fields.meta)
    );
}

/// What is written again is read as the same.
fn again(request: &Request<'_>) {
    let mut line = Vec::new();
    encode_request(&mut line, request.id, request);
    assert_eq!(line.pop(), Some(b'\n'));
    let second = Request::decode(&line).expect("what was written is good");

    assert_eq!(
        (
            second.id,
            second.cmdid,
            second.timestamp,
            second.params.as_str(),
            second.timeout
        ),
        (
            request.id,
            request.cmdid,
            request.timestamp,
            request.params.as_str(),
            request.timeout
        )
    );
    assert_eq!(
        (second.oneway, second.credit, second.meta.entries()),
        (request.oneway, request.credit, request.meta.entries())
    );
}

fn reply(line: &[u8]) {
    let decoded = FromServer::decode(line);
    match (&decoded, judge::reply(line)) {
        (Ok(FromServer::Reply(reply)), judge::FromServer::Reply(expected)) => {
            let status = reply.status();
            let found = judge::Reply {
                id: reply.id,
                code: reply.code.number(),
                data: reply.data.as_ref().map(rpc_core::RawJson::as_str),
                more: reply.more,
                message: expected
                    .message
                    .as_ref()
                    .map(|_| status.message().to_owned()),
                details: status.details().map(serde_json::value::RawValue::get),
                rejected: status.is_rejected(),
                retry_after_ms: status.retry_after().map(|after| after.as_millis() as u64),
            };
            assert_eq!(found, expected);
        }
        (Ok(FromServer::Notice { event, .. }), judge::FromServer::Notice(expected)) => {
            assert_eq!(*event, expected);
        }
        (Err(bad), judge::FromServer::Bad) => assert!(!bad.message.is_empty()),
        (decoded, expected) => {
            panic!(
                "{}: {decoded:?}, and the judge says {expected:?}",
                line.escape_ascii()
            )
        }
    }

    usual_item(line, &decoded);
    let Some(usual) = fast::Reply::read(line) else {
        return;
    };

    let typed = usual.data().decode::<serde_json::Value>();
    match (usual.data().settle(), &decoded) {
        (Ok(settled), Ok(FromServer::Reply(general))) => {
            assert!(typed.is_err() || !settled.more);
            let text = settled.data.as_ref().map(rpc_core::RawJson::as_str);
            assert_eq!(text, general.data.as_ref().map(rpc_core::RawJson::as_str));
            assert_eq!(
                (general.id, general.code.is_ok(), general.more),
                (Some(usual.id()), true, settled.more)
            );
            assert_eq!(general.timing, settled.timing);
        }
        (Err(_), Err(_)) => assert!(typed.is_err()),
        (settled, general) => panic!("{}: {settled:?} and {general:?}", line.escape_ascii()),
    }
}

/// An item in the usual form is what the general reader makes of its line.
fn usual_item(line: &[u8], decoded: &Result<FromServer<'_>, BadReply>) {
    let Some(usual) = fast::Item::read(line) else {
        return;
    };

    let typed = usual.data().decode::<serde_json::Value>();
    match (usual.data().verify(), decoded) {
        (Ok(data), Ok(FromServer::Reply(general))) => {
            assert!(general.code.is_ok() && general.more);
            assert_eq!(general.id, Some(usual.id()));
            assert_eq!(general.data.as_ref(), Some(&data));
        }
        (Err(_), Err(_)) => assert!(typed.is_err()),
        (verified, general) => panic!("{}: {verified:?} and {general:?}", line.escape_ascii()),
    }
}
