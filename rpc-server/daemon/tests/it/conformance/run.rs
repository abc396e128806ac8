//! One vector on its way through its steps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::pattern::{Context, mismatch};
use super::vector::{Drip, Kind, Repeat, Split, Step, Vector};
use super::wire::{Connection, Pace, Target};

/// Ids of the runner's own pings start here, far from those that the vectors use.
const OWN_ID_FIRST: u64 = 8_000_000_000;

/// Carries the vector out.
///
/// # Errors
/// The first step that does not find what it expects.
pub(super) async fn run(vector: &Vector, target: &Target, pace: Pace) -> Result<(), String> {
    let mut run = Run {
        target,
        pace,
        context: Context::new(),
        connections: BTreeMap::new(),
        own_pings: 0,
    };
    run.connections
        .insert("a".into(), Connection::open(target).await?);
    for (number, step) in (1..).zip(&vector.steps) {
        run.step(step)
            .await
            .map_err(|why| format!("step {number}: {why}"))?;
    }
    for (name, connection) in &mut run.connections {
        if connection.is_done() {
            continue;
        }
        if !connection.half_closed {
            connection.half_close().await;
        }
        let ended = connection.expect_closed().await;
        ended.map_err(|why| format!("behind the last step, on {name}: {why}"))?;
    }
    Ok(())
}

/// How a ping is recognised by its reply.
#[derive(Clone, Copy)]
enum Ping {
    /// It has an `id`.
    Numbered,
    /// Its reply comes in the order of such calls.
    Ordered,
}

struct Run<'t> {
    target: &'t Target,
    pace: Pace,
    context: Context,
    connections: BTreeMap<String, Connection>,
    own_pings: u64,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.kind {
            Kind::Send(text) => {
                let data = self.context.fill(text);
                self.send(step, data.as_bytes()).await
            }
            Kind::SendHex(hex) => self.send(step, &bytes_of(hex)).await,
            Kind::SendRepeat(Repeat { text, times }) => {
                let mut data = String::new();
                for n in 0..*times {
                    self.context.n = n;
                    data += &self.context.fill(text);
                }
                self.send(step, data.as_bytes()).await
            }
            Kind::Drip(drip) => self.drip(step, drip).await,
            Kind::HalfClose(_) => {
                self.on(step).half_close().await;
                Ok(())
            }
            Kind::Reset(_) => {
                self.on(step).reset();
                Ok(())
            }
            Kind::Open(name) => {
                self.connections
                    .insert(name.clone(), Connection::open(self.target).await?);
                Ok(())
            }
            Kind::PauseMs(ms) => {
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
            Kind::Expect(pattern) => self.expect(step, pattern).await,
            Kind::ExpectAnyOrder(patterns) => self.expect_any_order(step, patterns).await,
            Kind::ExpectEvent(pattern) => {
                let notice = self.on(step).next_notice().await?;
                mismatch(pattern, notice.text(), &mut self.context)
            }
            Kind::ExpectRawPrefix(prefix) => {
                let came = self.on(step).read_to_end().await?;
                self.raw_mismatch(step, Some(prefix), &came)
            }
            Kind::ExpectSilence(kind) if kind == "ordered" => self.ping(step, Ping::Ordered).await,
            Kind::ExpectOpen(_) | Kind::ExpectSilence(_) => self.ping(step, Ping::Numbered).await,
            Kind::ExpectClosed(_) => self.on(step).expect_closed().await,
        }
    }

    fn on(&mut self, step: &Step) -> &mut Connection {
        let name = step.on.as_deref().unwrap_or("a");
        self.connections
            .get_mut(name)
            .unwrap_or_else(|| panic!("the connection {name} is not open"))
    }

    async fn send(&mut self, step: &Step, data: &[u8]) -> Result<(), String> {
        let length = match (&step.split, self.pace) {
            (_, Pace::EveryByteAlone) => 1,
            (Some(Split::Pieces(length)), _) => *length,
            (Some(Split::EveryByte(name)), _) => {
                assert_eq!(name, "every-byte");
                1
            }
            (None, _) => data.len().max(1),
        };
        let connection = self.on(step);
        for piece in data.chunks(length) {
            connection.send(piece).await?;
        }
        Ok(())
    }

    /// Sends a piece at a time, at a slow and even pace, until the server says something.
    async fn drip(&mut self, step: &Step, drip: &Drip) -> Result<(), String> {
        let data = self.context.fill(&drip.text).repeat(drip.repeat);
        let connection = self.on(step);
        for _ in 0..drip.times {
            connection.send(data.as_bytes()).await?;
            if connection
                .wait(Instant::now() + Duration::from_millis(drip.every_ms))
                .await
            {
                return Ok(());
            }
        }
        Err("the server has waited for every piece".into())
    }

    async fn expect(&mut self, step: &Step, pattern: &Value) -> Result<(), String> {
        for n in 0..step.times.unwrap_or(1) {
            self.context.n = n;
            let reply = self.on(step).next_reply(Connection::deadline()).await?;
            mismatch(pattern, reply.text(), &mut self.context)
                .and_then(|()| self.raw_mismatch(step, step.raw_prefix.as_ref(), &reply.raw))
                .map_err(|why| format!("{:.300} came: {why}", reply.text()))?;
        }
        Ok(())
    }

    fn raw_mismatch(&self, step: &Step, prefix: Option<&String>, raw: &[u8]) -> Result<(), String> {
        let lower = String::from_utf8_lossy(raw).to_lowercase();
        let filled = |text: Option<&String>| text.map(|text| self.context.fill(text));
        if let Some(prefix) = filled(prefix)
            && !raw.starts_with(prefix.as_bytes())
        {
            return Err(format!("{lower:.300} does not begin with {prefix}"));
        }
        if let Some(text) = filled(step.raw_contains.as_ref())
            && !lower.contains(&text.to_lowercase())
        {
            return Err(format!("it does not contain {text}"));
        }
        if let Some(text) = filled(step.raw_lacks.as_ref())
            && lower.contains(&text.to_lowercase())
        {
            return Err(format!("it contains {text}"));
        }
        Ok(())
    }

    /// Each reply must match the head of a chain; a pattern that stands alone is a chain of one.
    async fn expect_any_order(&mut self, step: &Step, patterns: &[Value]) -> Result<(), String> {
        let deadline = Connection::deadline();
        let mut chains: Vec<(u64, &[Value])> = Vec::new();
        for n in 0..step.times.unwrap_or(1) {
            for entry in patterns {
                chains.push((
                    n,
                    entry
                        .as_array()
                        .map_or(std::slice::from_ref(entry), Vec::as_slice),
                ));
            }
        }
        while !chains.is_empty() {
            let reply = self.on(step).next_reply(deadline).await?;
            let mut fits = |(n, chain): &(u64, &[Value])| {
                self.context.n = *n;
                mismatch(&chain[0], reply.text(), &mut self.context).is_ok()
            };
            let Some(at) = chains.iter().position(&mut fits) else {
                return Err(format!(
                    "{:.300} matches none of what is still expected",
                    reply.text()
                ));
            };
            chains[at].1 = &chains[at].1[1..];
            chains.retain(|(_, chain)| !chain.is_empty());
        }
        Ok(())
    }

    /// A ping whose reply must be the next one: no other line was on its way.
    async fn ping(&mut self, step: &Step, kind: Ping) -> Result<(), String> {
        self.own_pings += 1;
        let number = OWN_ID_FIRST + self.own_pings;
        let id = match kind {
            Ping::Ordered => String::new(),
            Ping::Numbered => format!("\"id\":{number},"),
        };
        let request = format!("{{{id}\"cmdid\":0,\"params\":\"still here {number}\"}}\n");
        self.send(step, request.as_bytes()).await?;
        let reply = self.on(step).next_reply(Connection::deadline()).await?;
        if reply.text() == format!("{{{id}\"code\":0,\"data\":\"still here {number}\"}}\n") {
            return Ok(());
        }
        Err(format!(
            "{:.300} came before the reply to the ping that shows that no other line comes",
            reply.text()
        ))
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
