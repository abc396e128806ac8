//! `rpc log read`.

use clap::Args;
use rpc_client::{Client, Error};
use rpc_core::api::log::{Order, Read as Params};
use serde_json::value::RawValue;

use super::cursor::Cursor;
use super::filters::Filters;
use super::show::{Display, Shown};
use super::{PAGE_ENTRIES_MAX, page};
use crate::Target;
use crate::exit::Failure;
use crate::output::complain;

/// Print entries
///
/// On a terminal, entries are printed as human-readable lines; elsewhere as they are stored, a line of JSON for each.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log read --last 10
  rpc log read --since 10m --until 5m --contains timeout --field user=4211
  rpc log read --all --level error | jq -r .message
  rpc log read --after 17                          continue after entry 17")]
pub(crate) struct Read {
    /// Only entries with a higher number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Print at most N entries, beginning with the oldest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Print only the newest N entries, the oldest of them first
    #[arg(long, value_name = "N", conflicts_with = "limit")]
    last: Option<usize>,
    /// All entries, without a limit
    #[arg(long, conflicts_with_all = ["limit", "last"])]
    all: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    display: Display,
}

impl Read {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        self.filters.check()?;
        let client = target.client();
        let mut shown = Shown::new(&self.display);

        let Some(count) = self.last else {
            return self.read_on(&client, &mut shown).await;
        };
        let params = Params {
            after: self.after,
            ..self.filters.read()
        };
        shown.print(&last_entries(&client, params, u64::MAX, count).await?)
    }

    async fn read_on(&self, client: &Client, shown: &mut Shown) -> Result<(), Failure> {
        let mut left = if self.all { u64::MAX } else { self.limit };
        let mut cursor = Cursor {
            log: None,
            after: self.after,
        };

        while left > 0 {
            let params = Params {
                log: cursor.log.clone(),
                after: cursor.after,
                limit: Some(page_limit(left)),
                ..self.filters.read()
            };
            let page = page(client, &params).await?;

            // Where no place was given, reading begins with what there is.
            if cursor.after > 0
                && let Some(lost) = cursor.lost(&page)
            {
                complain(&format!("rpc: {}: {lost}", client.address()));
            }
            shown.print(&page.entries)?;

            // A page may hold nothing and still not be the last: what was looked at did not match.
            if page.next <= cursor.after {
                break;
            }

            left = left.saturating_sub(page.entries.len() as u64);
            cursor.move_to(&page);
        }

        Ok(())
    }
}

/// The last entries below `before` that a read finds, in their order; `u64::MAX` is for all.
pub(super) async fn last_entries(
    client: &Client,
    params: Params,
    mut before: u64,
    count: usize,
) -> Result<Vec<Box<RawValue>>, Error> {
    let mut found = Vec::new();

    while found.len() < count {
        let left = (count - found.len()) as u64;
        let params = Params {
            order: Some(Order::Desc),
            before: Some(before).filter(|before| *before < u64::MAX),
            limit: Some(page_limit(left)),
            ..params.clone()
        };
        let page = page(client, &params).await?;

        found.extend(page.entries);
        // A page that leads nowhere ends the search, whatever it says.
        if !page.more || page.next >= before {
            break;
        }
        before = page.next;
    }

    found.truncate(count);
    found.reverse();
    Ok(found)
}

fn page_limit(left: u64) -> u32 {
    let limit = u32::try_from(left).unwrap_or(u32::MAX);
    limit.min(PAGE_ENTRIES_MAX)
}
