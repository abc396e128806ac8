//! Memory that all connections of a server hold together, and its limit.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rpc_core::Status;
use tokio::time::Instant;

use crate::peer_log::LogThrottle;
use crate::sync::{AtomicBool, AtomicU64, Mutex};

/// Smaller changes of what a connection holds are not told: they would cost each turn an access to memory that all
/// threads write.
const GRAIN_BYTES: u64 = 4 * 1024;

/// Bytes that connections hold, as they have told it, and the limit.
///
/// From three quarters of the limit on memory is scarce: a connection that holds more than an equal share of these is
/// not read, and no result is built for it but one at a time. In the last eighth the calls of the largest holder end.
/// So there is always room for a connection below its share.
pub(crate) struct Memory {
    limit: u64,
    held: AtomicU64,
    /// The most that was held so far.
    peak: AtomicU64,
    holders: AtomicU64,
    /// The connections that wait until memory is not scarce any more, by their numbers.
    waiting: Mutex<HashMap<u64, Waker>>,
    has_waiting: AtomicBool,
    /// The most holders that there were when one of those began to wait: its share was the smallest.
    holders_at_wait: AtomicU64,
    /// When a holder was last asked to give something back.
    last_shed: Mutex<Option<Instant>>,
    logged: LogThrottle,
}

/// The shortest time between two holders that have to give something back: the first one needs it to do so.
const SHED_PAUSE: Duration = Duration::from_millis(5);

/// Whether there is enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Enough,
    /// Connections above their share wait.
    Scarce,
    /// The largest holder has to give some back.
    Exhausted,
}

/// Who asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    BelowShare,
    AboveShare,
}

impl Holder {
    /// One that holds `held` bytes of its `share`.
    pub(crate) fn of(held: usize, share: usize) -> Self {
        match held < share {
            true => Self::BelowShare,
            false => Self::AboveShare,
        }
    }
}

impl Memory {
    /// `limit` in bytes; 0 for half of what this process may use.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = match limit {
            0 => default_limit(),
            limit => limit as u64,
        };

        Self {
            limit,
            held: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            holders: AtomicU64::new(0),
            waiting: Mutex::new(HashMap::new()),
            has_waiting: AtomicBool::new(false),
            holders_at_wait: AtomicU64::new(0),
            last_shed: Mutex::new(None),
            logged: LogThrottle::new("connections that wait for memory", tracing::Level::WARN, 1),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    // Relaxed, here and below: the sum may be a turn old, for which the last quarter is there.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at one time since the server started.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn level(&self) -> Level {
        let held = self.held();
        if held < self.scarce_from() {
            Level::Enough
        } else if held < self.limit - self.limit / 8 {
            Level::Scarce
        } else {
            Level::Exhausted
        }
    }

    fn scarce_from(&self) -> u64 {
        self.limit - self.limit / 4
    }

    /// An equal share among all connections of what may be held before memory is scarce. The rest is for results, and
    /// for what the allocator needs besides.
    pub(crate) fn share(&self) -> usize {
        let share = self.scarce_from() / self.holders.load(Ordering::Relaxed).max(1);
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// Whether `bytes` more have room.
    pub(crate) fn has_room_for(&self, bytes: usize, holder: Holder) -> bool {
        let limit = match holder {
            Holder::BelowShare => self.limit,
            Holder::AboveShare => self.scarce_from(),
        };
        self.held().saturating_add(bytes as u64) <= limit
    }

    /// Bytes that there is room for, for any connection.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.told_max().saturating_sub(self.held())).unwrap_or(usize::MAX)
    }

    /// The most that may be told. A part of the limit is kept for what is not told yet.
    fn told_max(&self) -> u64 {
        self.limit - self.limit / 16
    }

    /// Counts the bytes of a result before it is built, if they have room; one whose length is not known has no bytes yet.
    /// A connection tells what it holds in its own turn only: many results would be built before that.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize, holder: Holder) -> Option<Reserved> {
        let bytes = bytes as u64;
        let most = match holder {
            Holder::BelowShare => self.told_max(),
            Holder::AboveShare => self.scarce_from(),
        };

        let with = |held: u64| {
            let with = held.checked_add(bytes)?;
            (with <= most || bytes == 0).then_some(with)
        };
        let before = self
            .held
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, with)
            .ok()?;
        self.note_peak(before + bytes);

        Some(Reserved {
            memory: Arc::clone(self),
            bytes,
        })
    }

    /// Has the connection with this number woken when memory is not scarce any more. Returns whether it waits since
    /// now.
    fn wait(&self, connection: u64, waker: &Waker) -> bool {
        let is_new = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_waiting.store(true, Ordering::SeqCst);
            let holders = self.holders.load(Ordering::Relaxed);
            self.holders_at_wait.fetch_max(holders, Ordering::Relaxed);
            waiting.insert(connection, waker.clone()).is_none()
        };

        // What was given back in the meantime has woken no task.
        self.end_wait();
        is_new
    }

    /// Wakes the connections that need not wait any more.
    fn end_wait(&self) {
        // The load first: it is all that most changes need.
        if !self.has_waiting.load(Ordering::SeqCst) || self.level() != Level::Enough {
            return;
        }

        self.wake_all();
    }

    fn wake_all(&self) {
        let woken = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_waiting.store(false, Ordering::SeqCst);
            self.holders_at_wait.store(0, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Forgets a connection that has ended. The others have larger shares now. They are woken once these are larger by
    /// a fifteenth, as hundreds that end together would each wake all others; those that are not look again by
    /// themselves, when they look for their peers.
    fn forget(&self, connection: u64) {
        let holders = self.holders.fetch_sub(1, Ordering::Relaxed) - 1;
        if !self.has_waiting.load(Ordering::SeqCst) {
            return;
        }

        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&connection);
        drop(waiting);

        let at_wait = self.holders_at_wait.load(Ordering::Relaxed);
        if holders * 16 <= at_wait * 15 {
            self.wake_all();
        }
    }

    /// Whether the largest holder is to give something back now.
    pub(crate) fn is_time_to_shed(&self) -> bool {
        let Ok(mut last) = self.last_shed.try_lock() else {
            return false;
        };

        let now = Instant::now();
        let is_time = last.is_none_or(|last| now.saturating_duration_since(last) >= SHED_PAUSE);
        if is_time {
            *last = Some(now);
        }

        is_time
    }

    /// What is said of a call that there is no memory for.
    pub(crate) fn refusal(&self) -> Status {
        Status::resource_exhausted(format!(
            "connections hold all of `limits.memory_bytes_max`, {} bytes; ask for less at a time, or later",
            self.limit
        ))
    }

    /// Logs that memory is scarce, now and then.
    pub(crate) fn log(&self) {
        self.logged.write(|| {
            tracing::warn!(
                held = self.held(),
                limit = self.limit,
                "connections hold nearly all of `limits.memory_bytes_max`: the server does not read from connections that \
                 hold more than an equal share"
            );
        });
    }

    fn change(&self, before: u64, now: u64) {
        // What is added for fewer bytes than before wraps around to what is taken away.
        let change = now.wrapping_sub(before);
        let held = self.held.fetch_add(change, Ordering::SeqCst);
        if now < before {
            self.end_wait();
            return;
        }

        self.note_peak(held.wrapping_add(change));
    }

    fn note_peak(&self, held: u64) {
        // The load first: most of the time it was more before.
        if held > self.peak() {
            self.peak.fetch_max(held, Ordering::Relaxed);
        }
    }
}

/// Bytes of a result among those of all connections; none once this is dropped.
pub(crate) struct Reserved {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Reserved {
    /// Changes their number.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.memory.change(self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.change(self.bytes, 0);
    }
}

/// The bytes of one holder among those of all; none once this is dropped.
pub(crate) struct MemoryShare {
    memory: Arc<Memory>,
    connection: u64,
    told: u64,
}

impl MemoryShare {
    pub(crate) fn none(memory: &Arc<Memory>, connection: u64) -> Self {
        memory.holders.fetch_add(1, Ordering::Relaxed);
        Self {
            memory: Arc::clone(memory),
            connection,
            told: 0,
        }
    }

    /// Tells how many bytes are held now, where that is much more or less than before. Returns whether it was told.
    #[inline]
    pub(crate) fn publish(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let is_news = bytes.abs_diff(self.told) >= GRAIN_BYTES || bytes == 0 && self.told > 0;
        if is_news {
            self.set(bytes);
        }

        is_news
    }

    /// Has the connection woken when memory is not scarce any more, or its share is another one. Returns whether it
    /// waits since now.
    pub(crate) fn wait(&self, waker: &Waker) -> bool {
        self.memory.wait(self.connection, waker)
    }

    fn set(&mut self, bytes: u64) {
        self.memory.change(self.told, bytes);
        self.told = bytes;
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.set(0);
        self.memory.forget(self.connection);
    }
}

/// Half of what this process may use; without any limit that can be read, all that a number can say.
fn default_limit() -> u64 {
    smallest_limit(Path::new("/")).map_or(u64::MAX, |limit| limit / 2)
}

/// The smallest of the machine's memory and the limits of the process's control groups and all groups above them, as
/// the system shows them below `root`.
fn smallest_limit(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();

    let meminfo = read(&root.join("proc/meminfo"));
    let machine = meminfo.as_deref().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    });

    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));

        // The second version has one tree for all controllers; in the first, memory has one of its own.
        let (tree, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };

        // In a container the path may begin outside of what is mounted: the groups that are not there say nothing.
        let group = Path::new(group.trim_start_matches('/'));
        let above = group.ancestors();
        above
            .filter_map(|group| read(&root.join(tree).join(group).join(file)))
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .collect()
    });

    of_groups.chain(machine).filter(|limit| *limit > 0).min()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:    1024 kB\nMemFree:  1 kB\n");

    #[test]
    fn the_machine_s_memory_is_a_limit() {
        let root = tree(&[MACHINE]);
        assert_eq!(smallest_limit(root.path()), Some(1024 * 1024));
        assert_eq!(smallest_limit(tree(&[]).path()), None);
    }

    #[test]
    fn groups_above_the_own_one_count_in_both_versions() {
        let second = tree(&[
            MACHINE,
            ("proc/self/cgroup", "0::/kube/pod/box\n"),
            ("sys/fs/cgroup/kube/pod/box/memory.max", "max\n"),
            ("sys/fs/cgroup/kube/pod/memory.max", "524288\n"),
            ("sys/fs/cgroup/kube/memory.max", "900000\n"),
        ]);
        assert_eq!(smallest_limit(second.path()), Some(524_288));

        let first = tree(&[
            MACHINE,
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/\n",
            ),
            (
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "300000\n",
            ),
            ("sys/fs/cgroup/memory.max", "400000\n"),
        ]);
        assert_eq!(smallest_limit(first.path()), Some(300_000));
    }

    #[test]
    fn results_are_counted_before_they_are_built_and_leave_a_part_of_the_limit_free() {
        let memory = Arc::new(Memory::new(1_600_000));
        let mut first = memory.reserve(1_200_000, Holder::AboveShare).unwrap();
        assert!(memory.reserve(1, Holder::AboveShare).is_none());

        let second = memory.reserve(300_000, Holder::BelowShare).unwrap();
        assert_eq!((memory.held(), memory.peak()), (1_500_000, 1_500_000));
        assert!(memory.reserve(1, Holder::BelowShare).is_none());
        let unknown = memory.reserve(0, Holder::AboveShare);
        assert!(unknown.is_some(), "its length is known when it is there");

        first.set(100_000);
        assert_eq!(memory.held(), 400_000);
        drop((first, second, unknown));
        assert_eq!((memory.held(), memory.peak()), (0, 1_500_000));
    }

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let memory = Arc::new(Memory::new(1_600_000));
        let mut one = MemoryShare::none(&memory, 1);
        assert!(!one.publish(4_095), "a small change is not told");
        assert!(one.publish(1_000_000));
        assert_eq!((memory.held(), memory.level()), (1_000_000, Level::Enough));

        let mut other = MemoryShare::none(&memory, 2);
        assert!(other.publish(300_000));
        assert_eq!((memory.level(), memory.share()), (Level::Scarce, 600_000));
        assert!(memory.has_room_for(200_000, Holder::BelowShare));
        assert!(!memory.has_room_for(1, Holder::AboveShare));

        assert!(one.publish(1_100_000));
        assert_eq!(memory.level(), Level::Exhausted);

        let counter = Arc::<Wakes>::default();
        let waker = Arc::clone(&counter).into();
        assert!(memory.wait(7, &waker) && !memory.wait(7, &waker));
        assert!(one.publish(1_050_000));
        assert_eq!(counter.0.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(
            counter.0.load(Ordering::Relaxed),
            1,
            "it is woken once memory is not scarce any more"
        );

        assert!(one.publish(0), "nothing is told though it is little");
        assert_eq!((memory.held(), memory.peak()), (0, 1_400_000));
    }

    #[test]
    fn connections_that_end_together_do_not_each_wake_all_that_wait() {
        let memory = Arc::new(Memory::new(1_600_000));
        let mut largest = MemoryShare::none(&memory, 0);
        assert!(largest.publish(1_300_000));
        let mut others: Vec<_> = (1..160)
            .map(|number| MemoryShare::none(&memory, number))
            .collect();

        let counter = Arc::<Wakes>::default();
        let waker = Arc::clone(&counter).into();
        let woken_after = |others: &mut Vec<MemoryShare>, ended: usize| {
            let before = counter.0.load(Ordering::Relaxed);
            assert!(largest.wait(&waker));
            others.truncate(others.len() - (ended - 1));
            assert_eq!(counter.0.load(Ordering::Relaxed), before);
            others.pop();
            assert_eq!(counter.0.load(Ordering::Relaxed), before + 1);
        };

        woken_after(&mut others, 10);
        // The share is that of fewer now.
        woken_after(&mut others, 10);
        others.truncate(15);
        woken_after(&mut others, 1);
    }
}
