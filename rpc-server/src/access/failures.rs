//! Wrong tokens by address, in a table of bounded size.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rpc_core::Peer;

use crate::config::Config;
use crate::limit::network_of;

#[derive(Default)]
pub(crate) struct Failures(HashMap<IpAddr, Window>);

struct Window {
    since: Instant,
    count: u32,
}

impl Failures {
    /// How long no token is looked at from there.
    pub(crate) fn blocked_for(
        &mut self,
        peer: &Peer,
        config: &Config,
        now: Instant,
    ) -> Option<Duration> {
        let address = address_of(peer)?;
        let &Window { since, count } = self.0.get(&address)?;

        let length = Duration::from_millis(config.token_failures.window_ms);
        let left = length.saturating_sub(now.duration_since(since));
        if left.is_zero() {
            self.0.remove(&address);
            return None;
        }

        (count >= config.token_failures.per_address).then_some(left)
    }

    pub(crate) fn note(&mut self, peer: &Peer, config: &Config, now: Instant) {
        let Some(address) = address_of(peer) else {
            return;
        };

        let length = Duration::from_millis(config.token_failures.window_ms);
        if !self.0.contains_key(&address) && self.0.len() >= config.token_failures.addresses_max {
            self.0
                .retain(|_, window| now.duration_since(window.since) < length);
        }

        if !self.0.contains_key(&address) && self.0.len() >= config.token_failures.addresses_max {
            // The one that would be forgotten next anyway.
            let oldest = self
                .0
                .iter()
                .min_by_key(|(_, window)| window.since)
                .map(|(address, _)| *address);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }

        let window = self.0.entry(address).or_insert(Window {
            since: now,
            count: 0,
        });
        window.count = window.count.saturating_add(1);
    }
}

/// Who shares a count. None where all peers look alike, as over a Unix socket, whose file mode limits who may connect:
/// one of them could keep the others out.
fn address_of(peer: &Peer) -> Option<IpAddr> {
    let address: SocketAddr = peer.address.parse().ok()?;
    Some(network_of(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::new(address, 1)
    }

    #[test]
    fn an_address_is_blocked_at_its_limit_until_its_window_is_over() {
        let config = Config::default().with(|config| {
            config.token_failures.per_address = 2;
            config.token_failures.window_ms = 1_000;
        });
        let (mut failures, start) = (Failures::default(), Instant::now());
        let (first, again, other) = (peer("10.0.0.1:1"), peer("10.0.0.1:2"), peer("10.0.0.2:1"));

        for _ in 0..2 {
            assert_eq!(failures.blocked_for(&first, &config, start), None);
            failures.note(&first, &config, start);
        }

        let later = start + Duration::from_millis(400);
        assert_eq!(
            failures.blocked_for(&again, &config, later),
            Some(Duration::from_millis(600))
        );
        assert_eq!(failures.blocked_for(&other, &config, later), None);

        assert_eq!(
            failures.blocked_for(&again, &config, start + Duration::from_secs(1)),
            None
        );

        for _ in 0..9 {
            failures.note(&peer("unix"), &config, start);
        }

        assert_eq!(
            failures.blocked_for(&peer("unix"), &config, start),
            None,
            "these all look alike"
        );
    }

    #[test]
    fn one_machine_s_addresses_count_together_and_the_table_stays_small() {
        let config = Config::default().with(|config| {
            config.token_failures.per_address = 1;
            config.token_failures.addresses_max = 3;
        });
        let (mut failures, start) = (Failures::default(), Instant::now());

        failures.note(&peer("[2001:db8::1]:1"), &config, start);
        assert!(
            failures
                .blocked_for(&peer("[2001:db8::ffff:2]:9"), &config, start)
                .is_some()
        );

        assert!(
            failures
                .blocked_for(&peer("[2001:db8:0:1::1]:1"), &config, start)
                .is_none()
        );

        for n in 0..20 {
            failures.note(
                &peer(&format!("10.0.0.{n}:1")),
                &config,
                start + Duration::from_millis(n),
            );
            assert!(failures.0.len() <= 3);
        }

        let at = start + Duration::from_millis(20);
        assert!(
            failures
                .blocked_for(&peer("10.0.0.19:5"), &config, at)
                .is_some()
        );
    }
}
