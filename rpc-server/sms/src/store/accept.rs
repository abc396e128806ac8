//! Accepts messages.

use rusqlite::{OptionalExtension, params};

use super::row::{Column, MessageRow};
use super::tables::Tables;
use super::{Accepted, Content, NewMessage, OptOut, OptOutScope, Refusal, StoreError, schema};
use crate::limits::Times;
use crate::message::{Class, MessageId};
use crate::number::Number;
use crate::states::State;

/// Time that a repetition may have been under way, by docs/protocol.md, "Repeated calls".
const UNDER_WAY_MS: u64 = 10_000;

impl Tables {
    /// Nothing is written before all that may be refused was looked at.
    pub(super) fn accept_message(
        &mut self,
        message: &NewMessage,
        now: u64,
    ) -> Result<Accepted, StoreError> {
        if let Some(accepted) = self.of_key(message, now)? {
            return Ok(accepted);
        }
        let known_since = self.created_at.max(now.saturating_sub(self.config.key_ms));
        if message
            .first_sent_at
            .is_some_and(|first| first + UNDER_WAY_MS < known_since)
        {
            return Err(Refusal::KeyTooOld.into());
        }

        let number_name = self.numbers.name(&message.to);
        self.check_message(message, &number_name, now)?;

        let (id, due_at) = (
            self.next_id(now),
            message.not_before.unwrap_or(now).max(now),
        );
        let state = if due_at > now {
            State::Scheduled
        } else {
            State::Queued
        };
        let mut row = MessageRow {
            seq: 0,
            id,
            owner: message.owner.clone(),
            state,
            class: message.class,
            gateway: message.gateway.clone(),
            attempt: 0,
            tries: 0,
            due_at,
            expires_at: message.expires_at,
            has_content: true,
            has_number: true,
            error: None,
            receipt: None,
            created_at: now,
            updated_at: now,
            parts: 0,
            parts_sent: 0,
            may_be_out: false,
        };

        self.insert(message, &mut row, &number_name, now)?;
        let count_max = self.config.prefix_count_max(message.class);
        if count_max > 0 {
            let prefix = (message.class, message.to.calling_code().to_owned());
            self.prefixes
                .entry(prefix)
                .or_default()
                .push(now, count_max);
        }
        self.note_event(&row, None, &row.gateway, now)?;
        self.count(&row.gateway, state, 1);

        Ok(Accepted {
            id,
            state,
            is_duplicate: false,
        })
    }

    /// Refuses a message that [`accept_message`](Self::accept_message) would refuse whatever its key; changes nothing.
    pub(super) fn check_message(
        &self,
        message: &NewMessage,
        number_name: &[u8],
        now: u64,
    ) -> Result<(), StoreError> {
        if self.waiting() >= self.config.queue_max {
            return Err(Refusal::QueueFull.into());
        }

        if self.is_opted_out(number_name, message.class)? {
            return Err(Refusal::OptedOut.into());
        }
        self.check_limits(message, number_name, now)
    }

    /// The message that has the key, if there is one. A key that is over is taken away from it.
    fn of_key(&self, message: &NewMessage, now: u64) -> Result<Option<Accepted>, StoreError> {
        let Some(key) = &message.key else {
            return Ok(None);
        };

        let mut statement = self.connection.prepare_cached(
            "SELECT seq, id, digest, first_state, created_at FROM messages WHERE owner = ?1 AND key = ?2",
        )?;
        let found = statement.query_row(params![message.owner, key], |row| {
            let id = MessageId::from_bytes(row.get(1)?);
            let (digest, state): ([u8; 32], Column<State>) = (row.get(2)?, row.get(3)?);
            Ok((
                row.get::<_, i64>(0)?,
                id,
                digest,
                state.0,
                row.get::<_, Column<u64>>(4)?.0,
            ))
        });

        let Some((seq, id, digest, state, created_at)) = found.optional()? else {
            return Ok(None);
        };
        if created_at + self.config.key_ms <= now {
            let mut statement = self
                .connection
                .prepare_cached("UPDATE messages SET key = NULL WHERE seq = ?1")?;
            statement.execute([seq])?;
            return Ok(None);
        }

        if digest != message.digest {
            return Err(Refusal::KeyReused.into());
        }
        Ok(Some(Accepted {
            id,
            state,
            is_duplicate: true,
        }))
    }

    fn check_limits(
        &self,
        message: &NewMessage,
        number_name: &[u8],
        now: u64,
    ) -> Result<(), StoreError> {
        let Some(limits) = self.config.limits.get(&message.class) else {
            return Ok(());
        };

        let prefix = (message.class, message.to.calling_code().to_owned());
        let times = self.prefixes.get(&prefix);
        let waits = limits.per_prefix.iter().map(|rate| {
            let newest_first = times.into_iter().flat_map(Times::newest_first);
            rate.wait_ms(newest_first, now)
        });
        if let Some(retry_after_ms @ 1..) = waits.max() {
            return Err(Refusal::PrefixLimit { retry_after_ms }.into());
        }

        let Some(back) = limits.per_number.iter().map(|rate| rate.count).max() else {
            return Ok(());
        };
        let times = self.times_of_number(message.class, number_name, back)?;

        let waits = limits
            .per_number
            .iter()
            .map(|rate| rate.wait_ms(times.iter().copied(), now));
        match waits.max() {
            Some(retry_after_ms @ 1..) => Err(Refusal::NumberLimit { retry_after_ms }.into()),
            _ => Ok(()),
        }
    }

    /// When the last messages of a class to a number were accepted, the newest first. The class has limits of these.
    fn times_of_number(
        &self,
        class: Class,
        number_name: &[u8],
        back: u32,
    ) -> Result<Vec<u64>, StoreError> {
        // A number in the text, since the index is of this class alone.
        let place = Class::ALL.iter().position(|one| *one == class);
        let query = format!(
            "SELECT created_at FROM messages INDEXED BY {} WHERE number_name = ?1 AND class = {} ORDER BY seq DESC LIMIT ?2",
            schema::index_of_limits(class),
            place.expect("the list has all"),
        );

        let mut statement = self.connection.prepare_cached(&query)?;
        let times = statement.query_map(params![number_name, back], |row| {
            Ok(row.get::<_, Column<u64>>(0)?.0)
        })?;
        Ok(times.collect::<Result<_, _>>()?)
    }

    fn insert(
        &self,
        message: &NewMessage,
        row: &mut MessageRow,
        number_name: &[u8],
        now: u64,
    ) -> Result<(), StoreError> {
        let (text, template) = match &message.content {
            Content::Text(text) => (text, None),
            Content::Template { name, vars } => (vars, Some(name)),
        };
        let tags = (!message.tags.is_empty())
            .then(|| serde_json::to_string(&message.tags).expect("texts by texts are JSON"));

        let mut statement = self.connection.prepare_cached(
            "INSERT INTO messages (id, owner, key, digest, number, number_name, calling_code, masked, text, template, sender, \
             class, priority, encoding, segments, tags, first_state, state, ready, due_at, expires_at, next_at, gateway, \
             created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?17, \
             ?18, ?19, ?20, ?21, ?22, ?23, ?23)",
        )?;
        row.seq = statement.insert(params![
            row.id.to_bytes(),
            row.owner,
            message.key,
            message.digest,
            message.to.e164(),
            number_name,
            message.to.calling_code(),
            message.to.to_string(),
            text,
            template,
            message.sender,
            Column(row.class),
            message.priority,
            Column(message.layout.encoding),
            message.layout.segments,
            tags,
            Column(row.state),
            row.is_ready(now),
            Column(row.due_at),
            row.expires_at.map(Column),
            row.next_at(&self.config, now).map(Column),
            row.gateway,
            Column(now),
        ])?;

        Ok(())
    }

    pub(super) fn is_opted_out(
        &self,
        number_name: &[u8],
        class: Class,
    ) -> Result<bool, StoreError> {
        let opt_out = self.opt_out_of(number_name)?;
        Ok(opt_out
            .is_some_and(|opt_out| opt_out.scope == OptOutScope::All || class == Class::Marketing))
    }

    fn opt_out_of(&self, number_name: &[u8]) -> Result<Option<OptOut>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT scope, since FROM opt_outs WHERE number_name = ?1")?;
        let found = statement.query_row([number_name], |row| {
            let (scope, since): (Column<OptOutScope>, Column<u64>) = (row.get(0)?, row.get(1)?);
            Ok(OptOut {
                scope: scope.0,
                since: since.0,
            })
        });

        Ok(found.optional()?)
    }

    /// Sets what a number has opted out of; `None` takes it back. Its first time is kept where nothing changes.
    pub(super) fn set_opt_out(
        &self,
        number: &Number,
        scope: Option<OptOutScope>,
        now: u64,
    ) -> Result<Option<OptOut>, StoreError> {
        let name = self.numbers.name(number);
        let Some(scope) = scope else {
            self.connection
                .execute("DELETE FROM opt_outs WHERE number_name = ?1", [name])?;
            return Ok(None);
        };

        self.connection.execute(
            "INSERT INTO opt_outs (number_name, scope, since) VALUES (?1, ?2, ?3) ON CONFLICT (number_name) \
             DO UPDATE SET scope = excluded.scope, since = excluded.since WHERE scope != excluded.scope",
            params![name, Column(scope), Column(now)],
        )?;
        self.opt_out_of(&name)
    }
}
