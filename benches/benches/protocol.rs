//! Costs of one call in the protocol's own parts: envelope, codec, in-flight table.
//!
//! `cargo bench -p rpc-benches`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rpc_core::codec::{LineDecoder, Step};
use rpc_core::frame::{FromServer, encode_reply, encode_request};
use rpc_core::in_flight::InFlight;
use rpc_core::{RawJson, Request};

const PARAMS: &str = concat!(
    r#"{"level":"info","service":"order","message":"user 4211 logged in from 10.1.2.3","#,
    r#""trace":"4bf92f3577b34da6a3ce929d0e0e4736","ts":1732233600123}"#
);

fn envelope(criterion: &mut Criterion) {
    let params = RawJson::parse(PARAMS).expect("it is JSON");
    let mut line = Vec::new();
    encode_request(&mut line, Some(4211), &Request::new(10_000, params.clone()));
    let line = line
        .strip_suffix(b"\n")
        .expect("a frame ends with a line break");

    let reply = br#"{"id":4211,"code":0,"data":{"accepted":true,"seq":17}}"#;
    let data = RawJson::parse(r#"{"accepted":true,"seq":17}"#).expect("it is JSON");

    let mut group = criterion.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(line.len() as u64));

    group.bench_function("decode_request", |b| {
        b.iter(|| Request::decode(black_box(line)).is_ok());
    });
    group.bench_function("decode_reply", |b| {
        b.iter(|| FromServer::decode(black_box(reply)).is_ok());
    });

    let mut out = Vec::with_capacity(512);
    let request = Request::new(10_000, params);
    group.bench_function("encode_request", |b| {
        b.iter(|| {
            out.clear();
            encode_request(&mut out, black_box(Some(4211)), &request);
        });
    });
    group.bench_function("encode_reply", |b| {
        b.iter(|| {
            out.clear();
            encode_reply(&mut out, black_box(Some(4211)), Some(&data));
        });
    });

    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    for id in 0..256 {
        encode_request(
            &mut bytes,
            Some(id),
            &Request::new(10_000, RawJson::parse(PARAMS).expect("it is JSON")),
        );
    }

    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(256));
    group.bench_function("256_lines", |b| {
        let mut decoder = LineDecoder::new(1 << 20);
        b.iter(|| {
            let mut at = 0;
            let mut lines = 0;
            while let Step::Line { line, consumed } = decoder.step(black_box(&bytes[at..])) {
                black_box(line);
                at += consumed;
                lines += 1;
            }

            assert_eq!(lines, 256);
        });
    });

    group.finish();
}

fn in_flight(criterion: &mut Criterion) {
    criterion.bench_function("in_flight/open_and_close_of_64", |b| {
        let mut calls: InFlight<u64> = InFlight::new(1024);
        let mut ids: Vec<u64> = (0..63)
            .map(|_| calls.open().expect("there is room").0)
            .collect();
        let mut next = 0;

        b.iter(|| {
            let (id, value) = calls.open().expect("there is room");
            *value = id;
            let old = std::mem::replace(&mut ids[next % 63], id);
            next += 1;
            black_box(calls.close(old)).is_some()
        });
    });
}

criterion_group!(benches, envelope, codec, in_flight);
criterion_main!(benches);
