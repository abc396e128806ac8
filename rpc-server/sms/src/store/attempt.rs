//! Attempts: claimed, ended, asked for again.

use rusqlite::{OptionalExtension, Row, params};

use super::row::{COLUMNS, Column, MessageRow, row_limit};
use super::tables::{BeginsAgain, Change, Tables};
use super::{
    AttemptEnd, AttemptEvent, ClaimRules, Claimed, Content, Refusal, Resend, StoreError, Viewer,
};
use crate::message::{Class, MessageId};
use crate::number::Number;
use crate::states::{Event, State, Step};
use crate::text::{Encoding, Layout};

/// What a submission needs beside the row.
struct Cargo {
    to: Option<String>,
    name: Vec<u8>,
    content: Option<Content>,
    sender: Option<String>,
    layout: Layout,
}

impl Cargo {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (text, template): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        let content = text.map(|text| match template {
            Some(name) => Content::Template { name, vars: text },
            None => Content::Text(text),
        });

        Ok(Self {
            to: row.get(0)?,
            name: row.get(1)?,
            content,
            sender: row.get(4)?,
            layout: Layout {
                encoding: row.get::<_, Column<Encoding>>(5)?.0,
                segments: row.get(6)?,
            },
        })
    }
}

impl Tables {
    pub(super) fn claim_next(
        &mut self,
        gateway: &str,
        limit: usize,
        rules: &ClaimRules,
        now: u64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM messages INDEXED BY messages_ready WHERE gateway = ?1 AND ready = 1 \
             ORDER BY priority DESC, seq LIMIT ?2"
        );
        let ready: Vec<MessageRow> = self
            .connection
            .prepare_cached(&query)?
            .query_map(params![gateway, row_limit(limit)], MessageRow::of)?
            .collect::<Result<_, _>>()?;

        let mut claimed = Vec::with_capacity(ready.len());
        for mut row in ready {
            claimed.extend(self.claim_one(&mut row, rules, now)?);
        }
        Ok(claimed)
    }

    /// Claims a message that is ready, unless something has become of it since it was accepted.
    fn claim_one(
        &mut self,
        row: &mut MessageRow,
        rules: &ClaimRules,
        now: u64,
    ) -> Result<Option<Claimed>, StoreError> {
        if row.expires_at.is_some_and(|expires_at| expires_at <= now) {
            self.apply(row, Event::Expire, Change::default(), now)?;
            return Ok(None);
        }

        let quiet = rules
            .marketing_not_before
            .filter(|_| row.class == Class::Marketing);
        if let Some(until) = quiet.filter(|until| *until > now) {
            row.due_at = until;
            self.write(row, now)?;
            return Ok(None);
        }

        let cargo = self
            .connection
            .prepare_cached("SELECT number, number_name, text, template, sender, encoding, segments FROM messages WHERE seq = ?1")?
            .query_row([row.seq], Cargo::of)?;

        let refused = |error: &str| Change {
            error: Some(error.to_owned()),
            ..Change::default()
        };
        if self.is_opted_out(&cargo.name, row.class)? {
            self.apply(row, Event::RefusedForGood, refused("opted_out"), now)?;
            return Ok(None);
        }

        let number = cargo
            .to
            .as_deref()
            .and_then(|to| Number::parse(to, None).ok());
        let (Some(to), Some(content)) = (number, cargo.content) else {
            self.apply(row, Event::RefusedForGood, refused("erased"), now)?;
            return Ok(None);
        };

        self.apply(row, Event::Claim, Change::default(), now)?;
        Ok(Some(Claimed {
            id: row.id,
            attempt: row.attempt,
            tries: row.tries,
            to,
            content,
            sender: cargo.sender,
            class: row.class,
            layout: cargo.layout,
            expires_at: row.expires_at,
        }))
    }

    pub(super) fn end_attempt(&mut self, end: &AttemptEnd, now: u64) -> Result<State, StoreError> {
        let mut row = self.find(end.id, &Viewer::All)?;
        if row.attempt != end.attempt {
            return Err(Refusal::TooLate(row.state).into());
        }

        let failed = |error: &str| Change {
            error: Some(error.to_owned()),
            ..Change::default()
        };
        match &end.event {
            AttemptEvent::Accepted { parts } => {
                self.end_parts(&mut row, Event::Accepted, Change::default(), parts, now)?;
            }

            AttemptEvent::Refused {
                error,
                retry_at,
                gateway,
            } => {
                let change = Change {
                    due_at: Some(*retry_at),
                    gateway: Some(gateway.clone()),
                    ..failed(error)
                };
                self.apply(&mut row, Event::Refused, change, now)?;
            }

            AttemptEvent::RefusedForGood { error, parts } => {
                self.end_parts(&mut row, Event::RefusedForGood, failed(error), parts, now)?;
            }

            AttemptEvent::NoAnswer {
                error,
                resend,
                parts,
            } => {
                let step = self.end_parts(&mut row, Event::NoAnswer, failed(error), parts, now)?;
                // A receipt may have told meanwhile that the gateway has some of it.
                let has_some = self.has_parts(&row)?;
                if *resend && step == Step::To(State::Unknown) && !has_some {
                    let change = Change {
                        due_at: Some(now),
                        ..failed(error)
                    };
                    self.apply(&mut row, Event::ResendMayDouble, change, now)?;
                }
            }
        }

        Ok(row.state)
    }

    pub(super) fn cancel_message(
        &mut self,
        id: MessageId,
        viewer: &Viewer,
        now: u64,
    ) -> Result<State, StoreError> {
        let mut row = self.find(id, viewer)?;
        match self.apply(&mut row, Event::Cancel, Change::default(), now)? {
            Step::To(state) => Ok(state),
            _ => Err(Refusal::TooLate(row.state).into()),
        }
    }

    pub(super) fn resend_message(
        &mut self,
        resend: &Resend,
        viewer: &Viewer,
        now: u64,
    ) -> Result<u32, StoreError> {
        let mut row = self.find(resend.id, viewer)?;
        let event = if resend.may_double {
            Event::ResendMayDouble
        } else {
            Event::Resend
        };
        // What an earlier attempt has brought to a gateway would arrive twice. A receipt may be all that tells of it.
        let doubles = !resend.may_double && (row.may_be_out || self.has_parts_of_any(&row)?);
        if doubles || crate::states::next(row.state, event) == Step::Refused {
            let may = crate::states::next(row.state, Event::ResendMayDouble) != Step::Refused;
            let refusal = if may {
                Refusal::MayDouble
            } else {
                Refusal::TooLate
            };
            return Err(refusal(row.state).into());
        }
        if !row.has_content || !row.has_number {
            return Err(Refusal::TextErased.into());
        }
        if self.waiting() >= self.config.queue_max {
            return Err(Refusal::QueueFull.into());
        }

        let change = Change {
            gateway: resend.gateway.clone(),
            due_at: Some(now),
            begins_again: Some(BeginsAgain {
                expires_at: resend.expires_at,
            }),
            ..Change::default()
        };
        self.apply(&mut row, event, change, now)?;
        Ok(row.attempt + 1)
    }

    /// The message and attempt of a gateway's name: the newest, of a gateway that gives a name twice.
    pub(super) fn of_reference(
        &self,
        gateway: &str,
        reference: &str,
    ) -> Result<Option<(MessageRow, u32)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, attempt FROM parts WHERE gateway = ?1 AND reference = ?2 ORDER BY seq DESC, attempt DESC LIMIT 1",
        )?;
        let found = statement.query_row([gateway, reference], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?))
        });
        let Some((seq, attempt)) = found.optional()? else {
            return Ok(None);
        };

        let query = format!("SELECT {COLUMNS} FROM messages WHERE seq = ?1");
        let row = self
            .connection
            .prepare_cached(&query)?
            .query_row([seq], MessageRow::of);
        Ok(Some((row?, attempt)))
    }
}
