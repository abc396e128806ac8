//! The queue of a pool: waiting pieces of work, taken in turn by connection.

use std::collections::{BTreeMap, HashMap};

use super::CallerId;

/// Maximum number of results of one connection that wait to be taken. At the limit no further piece of it begins: a
/// peer that reads nothing would otherwise have all its results built.
const RESULTS_MAX: usize = 4;

/// Maximum number of bytes that results of one connection may have, those that are being built among them. A piece says
/// how many its result may have; one may begin whatever it says.
const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Pieces of work that wait, and the number of those at work.
///
/// Each group of pieces (a blocking route, for example) has a maximum of its own, and a ring of the connections
/// whose pieces wait in it. A piece is taken from the connection at the front of a ring; a connection with further
/// pieces then goes to the back. Numbers that only grow stand for places in the rings, so that the rings of all
/// groups have one common order.
pub(super) struct Queue<P> {
    groups: Vec<Group<P>>,
    waiting: usize,
    /// The number of waiting pieces of each connection that has any.
    waiting_of: HashMap<CallerId, usize>,
    waiting_max: usize,
    at_work: usize,
    /// The connections with pieces that have begun, until their results are taken.
    begun_of: HashMap<CallerId, Begun>,
    /// The numbers of these pieces, and the bytes that their results may have.
    begun: HashMap<u64, usize>,
    /// The next number of a piece or of a place in a ring.
    next: u64,
    /// The group and the connection that the last piece was taken from. It joins the ring again when the next piece
    /// is taken: behind the connections that have come in the meantime, which were not served yet.
    served: Option<(GroupId, CallerId)>,
}

/// The place of a group among the groups of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(usize);

struct Group<P> {
    at_work: usize,
    at_work_max: usize,
    waiting: usize,
    /// The waiting pieces of connections that are held back, because their results wait.
    held_back: usize,
    ring: BTreeMap<u64, CallerId>,
    /// The lines of the connections with waiting pieces; a line is never empty.
    lines: HashMap<CallerId, Line<P>>,
}

/// The pieces of one connection that have begun.
#[derive(Default)]
struct Begun {
    /// Those whose results are not taken yet, and whose calls are not over.
    held: usize,
    /// Those at work, calls that are over among them.
    at_work: usize,
    /// Bytes that the results of those that are held may have.
    bytes: usize,
}

impl Begun {
    /// Whether as many results wait to be taken as may, or have as many bytes.
    fn is_full(&self) -> bool {
        self.held.saturating_sub(self.at_work) >= RESULTS_MAX || self.bytes >= RESULT_BYTES_MAX
    }
}

/// The waiting pieces of one connection in one group, in their order.
struct Line<P> {
    /// Its place in the ring; none for the connection that was served last, and for one whose results wait.
    place: Option<u64>,
    pieces: BTreeMap<u64, Waiting<P>>,
}

/// A piece that waits.
struct Waiting<P> {
    piece: P,
    /// Bytes that its result may have.
    result_bytes_max: usize,
}

/// A piece that was taken out of the queue, to be done.
pub(super) struct Taken<P> {
    pub(super) group: GroupId,
    pub(super) caller: CallerId,
    pub(super) piece: P,
}

/// Names a piece of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceId {
    group: GroupId,
    caller: CallerId,
    number: u64,
}

impl<P> Queue<P> {
    /// An empty queue where at most `waiting_max` pieces of one connection wait.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            groups: Vec::new(),
            waiting: 0,
            waiting_of: HashMap::new(),
            waiting_max,
            at_work: 0,
            begun_of: HashMap::new(),
            begun: HashMap::new(),
            next: 0,
            served: None,
        }
    }

    /// Adds a group of which at most `at_work_max` pieces are at work.
    pub(super) fn add_group(&mut self, at_work_max: usize) -> GroupId {
        self.groups.push(Group {
            at_work: 0,
            at_work_max: at_work_max.max(1),
            waiting: 0,
            held_back: 0,
            ring: BTreeMap::new(),
            lines: HashMap::new(),
        });
        GroupId(self.groups.len() - 1)
    }

    /// The number of waiting pieces.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of pieces at work.
    pub(super) fn at_work(&self) -> usize {
        self.at_work
    }

    /// The number of waiting pieces that could be at work now.
    pub(super) fn startable(&self) -> usize {
        let startable = |group: &Group<P>| {
            let ready = group.waiting - group.held_back;
            ready.min(group.at_work_max - group.at_work)
        };
        self.groups.iter().map(startable).sum()
    }

    /// Adds a piece whose result has at most `result_bytes_max` bytes; gives it back where as many
    /// of its connection wait as may.
    pub(super) fn push(
        &mut self,
        group: GroupId,
        caller: CallerId,
        result_bytes_max: usize,
        piece: P,
    ) -> Result<PieceId, P> {
        let waiting = self.waiting_of.entry(caller).or_default();
        if *waiting >= self.waiting_max {
            return Err(piece);
        }
        *waiting += 1;
        self.waiting += 1;

        let number = self.number();
        let is_full = self.is_full(caller);
        let joins = self.served != Some((group, caller)) && !is_full;
        let Group {
            waiting,
            held_back,
            ring,
            lines,
            ..
        } = &mut self.groups[group.0];
        *waiting += 1;
        *held_back += usize::from(is_full);
        let line = lines.entry(caller).or_insert_with(|| {
            if joins {
                ring.insert(number, caller);
            }
            Line {
                place: joins.then_some(number),
                pieces: BTreeMap::new(),
            }
        });
        let waiting = Waiting {
            piece,
            result_bytes_max,
        };
        line.pieces.insert(number, waiting);

        Ok(PieceId {
            group,
            caller,
            number,
        })
    }

    /// Takes the piece whose turn it is, of a group that has a place for it: it is at work now.
    pub(super) fn take(&mut self) -> Option<Taken<P>> {
        let front = self.front();
        // A take in vain must not put the connection that was served last before those that come next.
        if front.is_some() || self.is_served_next() {
            self.join_again();
        }
        let (place, id, caller) = front.or_else(|| self.front())?;

        let group = &mut self.groups[id.0];
        group.ring.remove(&place);
        let line = group.lines.get_mut(&caller)?;
        line.place = None;
        let (number, waiting) = line.pieces.pop_first()?;

        if line.pieces.is_empty() {
            group.lines.remove(&caller);
        }

        group.at_work += 1;
        self.served = Some((id, caller));
        self.at_work += 1;
        self.note_taken(id, caller);

        let was_full = self.is_full(caller);
        let bytes = waiting.result_bytes_max;
        self.change_begun(caller, |begun| {
            begun.held += 1;
            begun.at_work += 1;
            begun.bytes += bytes;
        });
        self.begun.insert(number, bytes);
        if self.is_full(caller) && !was_full {
            self.hold_back(caller);
        }

        Some(Taken {
            group: id,
            caller,
            piece: waiting.piece,
        })
    }

    /// Notes that a piece of this group and connection is not at work any more. Where as many results of the
    /// connection wait as may, its pieces leave the rings.
    pub(super) fn finish(&mut self, group: GroupId, caller: CallerId) {
        self.groups[group.0].at_work -= 1;
        self.at_work -= 1;

        let was_full = self.is_full(caller);
        self.change_begun(caller, |begun| begun.at_work -= 1);
        if self.is_full(caller) && !was_full {
            self.hold_back(caller);
        }
    }

    /// Notes that the result of a piece is taken, or its call over. The pieces of its connection that were held back
    /// join their rings.
    pub(super) fn release(&mut self, id: &PieceId) {
        let Some(bytes) = self.begun.remove(&id.number) else {
            return;
        };

        let caller = id.caller;
        let was_full = self.is_full(caller);
        self.change_begun(caller, |begun| {
            begun.held -= 1;
            begun.bytes -= bytes;
        });
        if was_full && !self.is_full(caller) {
            self.let_go(caller);
        }
    }

    /// Whether no further piece of a connection may begin, because as many of its results wait as may.
    pub(super) fn is_full(&self, caller: CallerId) -> bool {
        self.begun_of.get(&caller).is_some_and(Begun::is_full)
    }

    fn change_begun(&mut self, caller: CallerId, change: impl FnOnce(&mut Begun)) {
        let begun = self.begun_of.entry(caller).or_default();
        change(begun);
        if begun.held == 0 && begun.at_work == 0 {
            self.begun_of.remove(&caller);
        }
    }

    /// Takes a connection out of the rings.
    fn hold_back(&mut self, caller: CallerId) {
        for group in &mut self.groups {
            if let Some(line) = group.lines.get_mut(&caller) {
                group.held_back += line.pieces.len();
                if let Some(place) = line.place.take() {
                    group.ring.remove(&place);
                }
            }
        }
    }

    /// Puts a connection that was held back into the rings again.
    fn let_go(&mut self, caller: CallerId) {
        for id in (0..self.groups.len()).map(GroupId) {
            if let Some(line) = self.groups[id.0].lines.get(&caller) {
                self.groups[id.0].held_back -= line.pieces.len();
            }
            if self.served != Some((id, caller)) {
                self.join(id, caller);
            }
        }
    }

    /// Puts a connection with waiting pieces at the back of a ring that it is not in.
    fn join(&mut self, id: GroupId, caller: CallerId) {
        let number = self.number();
        let group = &mut self.groups[id.0];
        if let Some(line) = group.lines.get_mut(&caller)
            && line.place.is_none()
        {
            line.place = Some(number);
            group.ring.insert(number, caller);
        }
    }

    /// Takes a piece out, if it still waits.
    pub(super) fn remove(&mut self, id: &PieceId) -> Option<P> {
        let is_full = self.is_full(id.caller);
        let group = &mut self.groups[id.group.0];
        let line = group.lines.get_mut(&id.caller)?;
        let Waiting { piece, .. } = line.pieces.remove(&id.number)?;
        group.held_back -= usize::from(is_full);

        if line.pieces.is_empty() {
            if let Some(place) = line.place {
                group.ring.remove(&place);
            }
            group.lines.remove(&id.caller);
        }

        self.note_taken(id.group, id.caller);
        Some(piece)
    }

    /// Takes all waiting pieces out.
    pub(super) fn clear(&mut self) -> Vec<P> {
        self.waiting = 0;
        self.waiting_of.clear();
        self.served = None;

        let groups = self.groups.iter_mut();
        groups
            .flat_map(|group| {
                group.waiting = 0;
                group.held_back = 0;
                group.ring.clear();
                group.lines.drain()
            })
            .flat_map(|(_, line)| line.pieces.into_values())
            .map(|waiting| waiting.piece)
            .collect()
    }

    /// The place in its ring, the group and the connection of the next piece, of those that are in a ring.
    fn front(&self) -> Option<(u64, GroupId, CallerId)> {
        let fronts = self.groups.iter().enumerate().filter_map(|(id, group)| {
            let (place, caller) = group.ring.first_key_value()?;
            group.has_place().then_some((*place, GroupId(id), *caller))
        });
        fronts.min_by_key(|(place, ..)| *place)
    }

    /// Whether a piece of the connection that was served last could be taken now.
    fn is_served_next(&self) -> bool {
        self.served.is_some_and(|(id, caller)| {
            let group = &self.groups[id.0];
            group.has_place() && group.lines.contains_key(&caller) && !self.is_full(caller)
        })
    }

    /// Puts the connection that was served last at the back of its ring, if pieces of it wait.
    fn join_again(&mut self) {
        if let Some((id, caller)) = self.served.take()
            && !self.is_full(caller)
        {
            self.join(id, caller);
        }
    }

    /// Counts a piece that waits no more.
    fn note_taken(&mut self, group: GroupId, caller: CallerId) {
        self.waiting -= 1;
        self.groups[group.0].waiting -= 1;
        if let Some(waiting) = self.waiting_of.get_mut(&caller) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting_of.remove(&caller);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl<P> Group<P> {
    fn has_place(&self) -> bool {
        self.at_work < self.at_work_max
    }
}

#[cfg(test)]
mod tests;
