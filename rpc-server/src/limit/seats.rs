//! A few seats for connections that no other limit counts, shared out among addresses.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::addresses::network_of;
use crate::sync::{AtomicBool, Mutex, MutexGuard};

/// A number of seats. A newcomer that finds none takes that of the connection that has waited longest, first of its
/// own address, so that peers that say nothing keep no other peer out.
pub(crate) struct Seats {
    most: usize,
    per_address: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// In the order in which they were taken.
    taken: Vec<Taken>,
}

struct Taken {
    number: u64,
    /// None for Unix sockets, whose peers all look alike.
    network: Option<IpAddr>,
    settled: Settled,
    /// Dropped, it tells the connection that its seat is another one's.
    _held: oneshot::Sender<Infallible>,
}

/// A seat, until this is dropped or a newcomer takes it.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    settled: Settled,
    lost: oneshot::Receiver<Infallible>,
}

/// Whether a connection keeps its seat to its end.
#[derive(Clone, Default)]
pub(crate) struct Settled(Arc<AtomicBool>);

impl Seats {
    pub(crate) fn new(most: usize, per_address: usize) -> Self {
        Self {
            most,
            per_address,
            table: Mutex::default(),
        }
    }

    /// A seat for a connection of this address; none where all that it could have are settled.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Seat> {
        let network = address.map(network_of);
        let mut table = self.lock();

        if table.of(network) >= self.per_address {
            let oldest = table.oldest_of(network)?;
            table.taken.remove(oldest);
        } else if table.taken.len() >= self.most {
            let oldest = table.oldest_of_most()?;
            table.taken.remove(oldest);
        }

        table.next += 1;
        let number = table.next;
        let settled = Settled::default();
        let (held, lost) = oneshot::channel();
        table.taken.push(Taken {
            number,
            network,
            settled: settled.clone(),
            _held: held,
        });

        Some(Seat {
            seats: Arc::clone(self),
            number,
            settled,
            lost,
        })
    }

    /// Held for a look at a few seats, when a connection begins and when it ends. A panic cannot happen within.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of(&self, network: Option<IpAddr>) -> usize {
        let of_it = |taken: &&Taken| taken.network == network;
        self.taken.iter().filter(of_it).count()
    }

    /// The seat of this address that has been waiting longest.
    fn oldest_of(&self, network: Option<IpAddr>) -> Option<usize> {
        let is_its = |taken: &Taken| !taken.settled.get() && taken.network == network;
        self.taken.iter().position(is_its)
    }

    /// The seat that has been waiting longest, of an address that has the most.
    fn oldest_of_most(&self) -> Option<usize> {
        let all = self.taken.iter().enumerate();
        let waiting = all.filter(|(_, taken)| !taken.settled.get());

        // Of several that have as many, the last one is chosen: the oldest.
        let (oldest, _) = waiting
            .rev()
            .max_by_key(|(_, taken)| self.of(taken.network))?;
        Some(oldest)
    }
}

impl Settled {
    /// Keeps the seat to the connection's end: it has asked for something, and is about to be answered.
    pub(crate) fn set(&self) {
        // Relaxed: a newcomer that comes at the same moment may still take the seat.
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Seat {
    pub(crate) fn settled(&self) -> Settled {
        self.settled.clone()
    }

    /// Ready when a newcomer has taken the seat.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        table.taken.retain(|taken| taken.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_lost(seat: &mut Seat) -> bool {
        seat.lost().now_or_never().is_some()
    }

    fn take_two(seats: &Arc<Seats>, last: u8) -> [Seat; 2] {
        [(); 2].map(|()| seats.take(Some(address(last))).unwrap())
    }

    #[test]
    fn a_newcomer_takes_the_seat_that_has_waited_longest_first_of_its_own_address() {
        let seats = Arc::new(Seats::new(4, 2));
        let (mut one, [mut first, mut second]) = (take_two(&seats, 1), take_two(&seats, 2));

        // Its own address has its share.
        let mut third = seats.take(Some(address(2))).unwrap();
        assert_eq!((is_lost(&mut first), is_lost(&mut second)), (true, false));
        assert_eq!(one.each_mut().map(is_lost), [false, false]);

        // All seats are taken: the oldest of an address that has the most goes.
        drop(third);
        third = seats.take(Some(address(3))).unwrap();
        let mut other = seats.take(None).unwrap();
        assert_eq!(one.each_mut().map(is_lost), [true, false]);
        assert!(
            ![&mut second, &mut third, &mut other]
                .map(is_lost)
                .contains(&true)
        );
        assert_eq!(seats.lock().taken.len(), 4);

        drop((one, first, second, third, other));
        assert_eq!(seats.lock().taken.len(), 0);
    }

    #[test]
    fn a_seat_that_is_settled_is_not_taken() {
        let seats = Arc::new(Seats::new(2, 2));
        let mut settled = seats.take(Some(address(1))).unwrap();
        settled.settled().set();
        let mut waiting = seats.take(Some(address(1))).unwrap();

        let last = seats.take(Some(address(1))).unwrap();
        assert_eq!(
            (is_lost(&mut settled), is_lost(&mut waiting)),
            (false, true)
        );

        last.settled().set();
        assert!(seats.take(Some(address(1))).is_none());
        assert!(seats.take(Some(address(2))).is_none());

        drop(settled);
        assert!(seats.take(Some(address(2))).is_some());
    }
}
